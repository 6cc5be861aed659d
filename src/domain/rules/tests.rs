use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::domain::records::{Addition, Agreement};

fn agreement(name: &str, type_name: Option<&str>) -> Facts {
    Facts::from(&Agreement { type_name: type_name.map(Into::into), ..Agreement::endless(1, 1, name) })
}

fn addition(product: &str, description: Option<&str>) -> Facts {
    Facts::from(&Addition { description: description.map(Into::into), ..Addition::plain(1, 1, product) })
}

fn holds(expression: &str, facts: &Facts) -> bool {
    Rule::parse(Target::Agreement, expression).unwrap_or_else(|e| panic!("{expression}: {e}")).matches(facts)
}

fn rejected(expression: &str) -> RuleError {
    match Rule::parse(Target::Agreement, expression) {
        Ok(rule) => panic!("{expression} was parsed as {rule}"),
        Err(error) => error,
    }
}

#[test]
fn the_examples_of_the_help_page() {
    let backup = agreement("Online Service", Some("SP Backup"));
    assert!(holds(r#"type/name like "%SP%""#, &backup));
    assert!(holds(r#"name contains "Service""#, &backup));
    let rule = Rule::parse(Target::Addition, r#"product/identifier contains "IBDR""#).unwrap();
    assert!(rule.matches(&addition("ibdr-100", None)));
    assert!(!rule.matches(&addition("OBA", None)));
}

#[test]
fn every_operator() {
    let facts = agreement("Backup", Some("SP"));
    for (expression, expected) in [
        (r#"name = "BACKUP""#, true),
        (r#"name != "backup""#, false),
        (r#"name < "c""#, true),
        (r#"name <= "BACKUP""#, true),
        (r#"name > "backup""#, false),
        (r#"name >= "a""#, true),
        (r#"name contains "ack""#, true),
        (r#"name not contains "ack""#, false),
        (r#"name like "ba%up""#, true),
        (r#"name like "%x%""#, false),
        (r#"name not like "x%""#, true),
        (r#"name like "b_ck%""#, true),
        (r#"name like "[a-c]ack%""#, true),
        (r#"name like "[^b]%""#, false),
        (r#"name in ("other", 'backup')"#, true),
        (r#"NAME NOT IN ("other")"#, true),
        (r#"name = "x" or name = "backup" and type/name = "SP""#, true),
        (r#"(name = "x" or name = "backup") and type/name = "no""#, false),
    ] {
        assert_eq!(holds(expression, &facts), expected, "{expression}");
    }
}

#[test]
fn a_literal_bracket_is_written_in_brackets() {
    assert!(holds(r#"name like "%[[]Cloud]%""#, &agreement("A [Cloud] B", None)));
    assert!(!holds(r#"name like "%[[]Cloud]%""#, &agreement("A Cloud B", None)));
}

#[test]
fn an_absent_value_satisfies_only_negations() {
    let facts = agreement("Backup", None);
    for (expression, expected) in [
        (r#"type/name = """#, false),
        (r#"type/name like "%""#, false),
        (r#"type/name != "SP""#, true),
        (r#"type/name not contains "SP""#, true),
        (r#"type/name not in ("SP")"#, true),
        (r#"type/name < "z""#, false),
    ] {
        assert_eq!(holds(expression, &facts), expected, "{expression}");
    }
}

#[test]
fn the_canonical_form_reads_back() {
    for (given, canonical) in [
        (r"  NAME   CONTAINS 'x' ", r#"name contains "x""#),
        (r#"name = 'say "hi"'"#, r#"name = 'say "hi"'"#),
        (r#"((name = "a") and (name = "b")) and name = "c""#, r#"name = "a" and name = "b" and name = "c""#),
        (r#"name = "a" or (name = "b" and name = "c")"#, r#"name = "a" or name = "b" and name = "c""#),
        (r#"(name = "a" or name = "b") and name = "c""#, r#"(name = "a" or name = "b") and name = "c""#),
        (r#"name Not In('a',"b")"#, r#"name not in ("a", "b")"#),
    ] {
        let rule = Rule::parse(Target::Agreement, given).unwrap();
        assert_eq!(rule.to_string(), canonical);
        assert_eq!(Rule::parse(Target::Agreement, canonical).unwrap().expr(), rule.expr());
    }
}

#[test]
fn common_mistakes_are_explained() {
    for (expression, code, offset, length, advice) in [
        (r"name like 'SP'", "like_without_percent", 10, 4, "\"SP%\""),
        (r#"name == "x""#, "unexpected", 5, 2, "Write ="),
        (r#"name starts with "x""#, "unexpected", 5, 6, "like \"text%\""),
        ("name contains Service", "unexpected", 14, 7, "\"Service\""),
        ("name = “x”", "bad_character", 7, 1, "plain quotes"),
        (r#"name = "x"#, "unterminated_text", 7, 2, "Close it"),
        (r#"name = "x" && name = "y""#, "unexpected", 11, 2, "Write and"),
        (r#"not name = "x""#, "unexpected", 0, 3, "before the operator"),
        (r#"name in "x""#, "unexpected", 8, 3, "list"),
        (r#"name like "%[a""#, "bad_pattern", 10, 5, "[[]"),
    ] {
        let error = rejected(expression);
        assert_eq!((error.code.as_str(), error.offset, error.length), (code, offset, length), "{expression}: {error}");
        assert!(error.advice.as_deref().unwrap_or_default().contains(advice), "{expression}: {error:?}");
    }
}

#[test]
fn what_was_expected_is_listed() {
    let error = rejected("description = \"x\"");
    assert_eq!(error.code.as_str(), "wrong_target");
    assert!(error.message.contains("attribute of an addition"), "{error}");
    assert_eq!(rejected("nam = \"x\"").expected, ["name", "type/name"]);
    assert_eq!(rejected("name = \"x\" name").expected, ["and", "or", "the end"]);
    assert_eq!(rejected("(name = \"x\"").offset, 0);
    assert_eq!(rejected("").length, 0);
    assert_eq!(rejected("name contains \"\"").code.as_str(), "empty_text");
    assert_eq!(rejected("name = \"a\0b\"").code.as_str(), "bad_character");
}

#[test]
fn limits_hold_and_are_fast() {
    let started = Instant::now();
    assert_eq!(rejected(&"(".repeat(10_000)).code.as_str(), "too_long");
    assert_eq!(rejected(&"(".repeat(3_000)).code.as_str(), "too_deep");
    assert_eq!(rejected(&"x".repeat(1_000_000)).code.as_str(), "too_long");
    let list = vec!["'a'"; 201].join(",");
    assert_eq!(rejected(&format!("name in ({list})")).code.as_str(), "list_too_long");
    let many = vec!["name='a'"; 101].join(" or ");
    assert_eq!(rejected(&many).code.as_str(), "too_many_conditions");
    assert_eq!(rejected(&format!("name in ({})", vec!["'a'"; 100_000].join(","))).code.as_str(), "too_long");
    assert_eq!(rejected(&format!("name = \"{}\"", "x".repeat(1_000_000))).code.as_str(), "too_long");
    let text = "a".repeat(20_000);
    let facts = agreement(&text, None);
    assert!(!holds(&format!(r#"name like "%{}b%""#, "a%".repeat(1_000)), &facts));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn every_character_is_read_back_or_rejected() {
    let (mut read, mut rejected_ones) = (0, 0);
    for c in '\0'..=char::MAX {
        let expression = if c == '"' { "name = 'a\"'".to_owned() } else { format!("name = \"a{c}\"") };
        match Rule::parse(Target::Agreement, &expression) {
            Ok(rule) => {
                assert_eq!(rule.to_string(), expression, "{c:?}");
                assert!(rule.matches(&agreement(&format!("a{c}"), None)), "{c:?}");
                read += 1;
            }
            Err(error) => {
                assert_eq!(error.code.as_str(), "bad_character", "{c:?}");
                rejected_ones += 1;
            }
        }
    }
    assert!(read > 1_100_000 && rejected_ones < 70, "{read} read, {rejected_ones} rejected");
    let hebrew = agreement("גיבוי שירות", None);
    assert!(holds("name contains \"שירות\"", &hebrew), "from right to left");
}

fn quotable() -> impl Strategy<Value = String> {
    "[^\"'\u{0}]{1,12}"
}

fn expressions() -> impl Strategy<Value = Expr> {
    let attribute = prop_oneof![Just(Attribute::Name), Just(Attribute::TypeName)];
    let condition =
        (attribute, 0..Comparison::ALL.len(), quotable(), quotable()).prop_map(|(attribute, index, a, b)| {
            let comparison = Comparison::ALL[index];
            let texts = match comparison {
                Comparison::In | Comparison::NotIn => vec![a, b],
                Comparison::Like | Comparison::NotLike => vec![format!("%{}%", a.replace('[', ""))],
                _ => vec![a],
            };
            Expr::Condition(Condition { attribute, comparison, texts })
        });
    condition.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Rule::parse(Target::Agreement, &text);
    }

    #[test]
    fn no_token_soup_makes_it_panic(words in prop::collection::vec(
        prop::sample::select(vec!["name", "type/name", "=", "not", "in", "like", "(", ")", ",", "\"a%\"", "'b'", "and", "or", "["]), 0..30)
    ) {
        let _ = Rule::parse(Target::Agreement, &words.join(" "));
    }

    #[test]
    fn print_then_parse_gives_the_same(expr in expressions()) {
        let printed = expr.to_string();
        let rule = Rule::parse(Target::Agreement, &printed).unwrap();
        prop_assert_eq!(rule.to_string(), Rule::parse(Target::Agreement, &rule.to_string()).unwrap().to_string());
    }

    #[test]
    fn not_is_the_complement_on_present_values(value in ".{0,12}", text in quotable(), which in 0_usize..4) {
        let facts = agreement(&value, None);
        let (plain, negated) = [
            ("=", "!="), ("contains", "not contains"), ("like", "not like"), ("in", "not in"),
        ][which];
        let operand = match plain {
            "like" => format!("\"%{}%\"", text.replace('[', "")),
            "in" => format!("(\"{text}\")"),
            _ => format!("\"{text}\""),
        };
        prop_assert_ne!(holds(&format!("name {plain} {operand}"), &facts), holds(&format!("name {negated} {operand}"), &facts));
    }

    #[test]
    fn like_around_plain_text_is_contains(value in ".{0,20}", text in "[^\"'\u{0}%_\\[]{1,4}") {
        let facts = agreement(&value, None);
        let like = holds(&format!("name like \"%{text}%\""), &facts);
        prop_assert_eq!(like, holds(&format!("name contains \"{text}\""), &facts));
    }
}
