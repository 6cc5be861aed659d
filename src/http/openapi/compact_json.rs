//! Writes the document for people to read, with short values on one line.

/// Maximum length of a line of combined values.
const MAX_LINE_LENGTH: usize = 125;

/// Writes each object or array that fits on one line, such as `"type": ["string", "null"]`. Expects JSON with one value
/// per line, as serde writes it. The members of the outermost three levels, such as paths, keep lines of their own.
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
                outer.extend(short.map_or_else(|| filled(block), |short| vec![short]));
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

/// A block with as many values per line as fit, if it is an array of texts, such as the required members of an object.
fn filled(block: Vec<String>) -> Vec<String> {
    let is_array = block.first().is_some_and(|line| line.ends_with('['));
    let inner = block.get(1..block.len() - 1).unwrap_or_default();
    let is_text = |line: &String| line.trim_start().starts_with('"') && line.trim_end_matches(',').ends_with('"');
    if !is_array || !inner.iter().all(is_text) {
        return block;
    }
    let mut lines: Vec<String> = Vec::new();
    for value in inner {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + value.trim().len() <= MAX_LINE_LENGTH => {
                line.push(' ');
                line.push_str(value.trim());
            }
            _ => lines.push(value.clone()),
        }
    }
    let ends = (block.first().cloned(), block.last().cloned());
    ends.0.into_iter().chain(lines).chain(ends.1).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn short_values_are_on_one_line() {
        let long = "x".repeat(100);
        let names: Vec<String> = (0..40).map(|number| format!("member_{number}")).collect();
        let value = json!({"a": {"b": {"c": {
            "type": ["string", "null"], "ref": {"$ref": "#/x"}, "long": [long, long], "required": names
        }}}});
        let text = lines(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains(r#""type": ["string","#) && text.contains(r#"{"$ref": "#), "{text}");
        assert!(text.lines().all(|line| line.len() <= MAX_LINE_LENGTH), "{text}");
        let filled = text.lines().filter(|line| line.contains("member_")).count();
        assert!((2..10).contains(&filled), "{text}");
    }
}
