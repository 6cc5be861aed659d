//! The OpenAPI document as the server uses it.

use actix_web::http::Method;

/// The document as it is served, with the methods of each path.
pub struct ServedDocument {
    /// The document as JSON.
    pub json: String,
    /// The segments of each path, where `None` is a parameter, with the methods that the path supports.
    paths: Vec<(Vec<Option<String>>, Vec<Method>)>,
}

impl ServedDocument {
    /// Reads the paths and their methods from the document.
    pub fn new(json: String) -> Self {
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        let paths = value.get("paths").and_then(|paths| paths.as_object()).into_iter().flatten();
        let paths = paths.map(|(path, item)| {
            let segment = |part: &str| (!part.starts_with('{')).then(|| part.to_owned());
            let methods = item.as_object().into_iter().flatten();
            let methods = methods.filter_map(|(name, _)| name.to_ascii_uppercase().parse().ok());
            (path.split('/').map(segment).collect(), methods.collect())
        });
        Self { paths: paths.collect(), json }
    }

    /// The methods that a path supports; empty if there is no such path.
    pub fn methods(&self, path: &str) -> Vec<Method> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |pattern: &[Option<String>]| {
            pattern.len() == parts.len()
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(known, part)| known.as_ref().map_or(!part.is_empty(), |known| known == part))
        };
        // The path with the fewest parameters wins: /companies/auto-match is not a company.
        let mut fitting: Vec<_> = self.paths.iter().filter(|(pattern, _)| fits(pattern)).collect();
        fitting.sort_by_key(|(pattern, _)| pattern.iter().filter(|part| part.is_none()).count());
        fitting.first().map(|(_, methods)| methods.clone()).unwrap_or_default()
    }
}
