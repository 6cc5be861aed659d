//! Writes the document for people to read: what is short stands on one line.

/// The longest line that is made.
const MAX_LINE_LENGTH: usize = 120;

/// Writes each object or array that fits on a line on one, such as `"type": ["string", "null"]`. Takes JSON with one value
/// a line, as serde writes it. The members of the outermost three levels, such as paths, keep lines of their own.
pub(super) fn lines(json: &str) -> String {
    const KEPT_LEVELS: usize = 3;
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    for line in json.lines() {
        let is_end = line.trim_start().starts_with([']', '}']);
        if is_end {
            let mut block = open.pop().unwrap_or_default();
            block.push(line.to_owned());
            let short = (open.len() > KEPT_LEVELS).then(|| on_one_line(&block)).flatten();
            if let Some(outer) = open.last_mut() {
                outer.extend(short.map_or(block, |short| vec![short]));
            }
        } else if line.ends_with(['{', '[']) {
            open.push(vec![line.to_owned()]);
        } else if let Some(block) = open.last_mut() {
            block.push(line.to_owned());
        }
    }
    let mut text = open.into_iter().flatten().collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

/// A block on one line, if it fits.
fn on_one_line(block: &[String]) -> Option<String> {
    let length: usize = block.iter().skip(1).map(|line| line.trim().len() + 1).sum();
    let first = block.first()?;
    if first.len() + length > MAX_LINE_LENGTH {
        return None;
    }
    let inner: Vec<&str> = block.iter().skip(1).take(block.len() - 2).map(|line| line.trim()).collect();
    Some(format!("{first}{}{}", inner.join(" "), block.last()?.trim()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_short_stands_on_one_line() {
        let long = "x".repeat(100);
        let value =
            json!({"a": {"b": {"c": {"type": ["string", "null"], "ref": {"$ref": "#/x"}, "long": [long, long]}}}});
        let text = lines(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains(r#""type": ["string","#) && text.contains(r#"{"$ref": "#), "{text}");
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
