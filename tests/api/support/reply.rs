//! A response, with checks for tests.

use std::ops::Deref;

use serde_json::Value;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Reply {
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    /// The body, if the status is as expected.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json
    }

    /// The problem, if it is one of this status and kind.
    #[track_caller]
    pub fn problem(self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.json["code"], kind, "{}", self.text);
        assert_eq!(self.json["type"], format!("/problems/{kind}"), "{}", self.text);
        assert_eq!(self.json["request_id"], self.header("x-request-id"), "{}", self.text);
        assert_eq!(self.json["status"], status);
        assert!(self.json["title"].is_string() && self.json["detail"].is_string(), "{}", self.text);
        self.json
    }

    /// The version that the `ETag` names, without the content.
    pub fn version(&self) -> &str {
        self.header("etag").trim_matches('"').split('.').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Deref for Reply {
    type Target = Value;
    fn deref(&self) -> &Value {
        &self.json
    }
}
