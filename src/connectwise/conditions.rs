//! Builds the `conditions` query parameter.

/// Maximum length of the values in a condition. ConnectWise accepts URLs of about 1745 characters after the host.
const MAX_CONDITION: usize = 1_200;

/// Returns `name = "value"`, or `None` if the value contains control characters or both kinds of quotes (no escape is
/// documented), or is too long.
pub(super) fn equals(name: &str, value: &str) -> Option<String> {
    let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
    let fits = value.len() < MAX_CONDITION && !value.chars().any(char::is_control);
    fits.then(|| format!("{name} = {quote}{value}{quote}"))
}

/// Returns `name in (1,2,…)`, split into several conditions so that each URL is short enough.
pub(super) fn one_of(name: &str, ids: &[i64]) -> Vec<String> {
    let mut conditions: Vec<String> = Vec::new();
    let mut list = String::new();
    for id in ids {
        let id = id.to_string();
        if !list.is_empty() && list.len() + id.len() > MAX_CONDITION {
            conditions.push(format!("{name} in ({list})"));
            list.clear();
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&id);
    }
    if !list.is_empty() {
        conditions.push(format!("{name} in ({list})"));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_quoted_with_the_quote_it_lacks() {
        assert_eq!(equals("identifier", "Acme").as_deref(), Some("identifier = \"Acme\""));
        assert_eq!(equals("identifier", "A \"B\"").as_deref(), Some("identifier = 'A \"B\"'"));
        assert_eq!(equals("identifier", "\"'"), None);
        assert_eq!(equals("identifier", "a\nb"), None);
    }

    #[test]
    fn long_lists_are_split() {
        let ids: Vec<i64> = (1_000_000..1_000_500).collect();
        let conditions = one_of("company/id", &ids);
        assert!(conditions.len() > 1 && conditions.iter().all(|condition| condition.len() < MAX_CONDITION + 40));
        let all: usize = conditions.iter().map(|condition| condition.matches(',').count() + 1).sum();
        assert_eq!(all, ids.len());
        assert!(one_of("company/id", &[]).is_empty());
    }
}
