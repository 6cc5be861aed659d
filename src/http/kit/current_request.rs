//! Task-local data about the current request, for code that does not have it at hand: problems and links to the next
//! page.

use std::future::Future;

/// The data kept about a request.
#[derive(Debug, Clone)]
struct Current {
    id: String,
    path: String,
    query: String,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// Runs a future that handles the request with this id, path and query.
pub fn handling<F: Future>(id: &str, path: &str, query: &str, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(Current { id: id.to_owned(), path: path.to_owned(), query: query.to_owned() }, work)
}

/// The id of the request.
pub fn id() -> Option<String> {
    CURRENT.try_with(|request| request.id.clone()).ok()
}

/// The address of the next page of the list that was requested, without the host.
pub fn next_page(cursor: &str) -> Option<String> {
    CURRENT
        .try_with(|request| {
            let others = url::form_urlencoded::parse(request.query.as_bytes()).filter(|(name, _)| name != "cursor");
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            let query = query.extend_pairs(others).append_pair("cursor", cursor).finish();
            format!("{}?{query}", request.path)
        })
        .ok()
}
