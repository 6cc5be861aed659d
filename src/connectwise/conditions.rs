//! Building the `conditions` parameter.

/// How long a URL's query may become: ConnectWise takes about 1745 characters after the host.
const MAX_CONDITION: usize = 1_200;

/// `name = "value"`, or `None` where the value holds both kinds of quotes: no escape for them is documented, so such
/// a value is compared here instead.
pub(super) fn equals(name: &str, value: &str) -> Option<String> {
    let quote = ['"', '\''].into_iter().find(|quote| !value.contains(*quote))?;
    let fits = value.len() < MAX_CONDITION && !value.chars().any(char::is_control);
    fits.then(|| format!("{name} = {quote}{value}{quote}"))
}

/// `name in (1, 2, …)`, in as many conditions as keep each URL short enough.
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
