//! The kinds of problems. This one list defines the document's enumeration, the titles and the pages of `/problems`.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::string_enum::{StringEnum, string_enum};
use crate::domain::{ConflictCode, ConnectWiseCode, Error, ErrorCode};

/// Where the pages of problems are: the `type` of a problem is this path and its code.
pub const PAGES: &str = "/problems";

string_enum! {
    /// The problems that concern the request itself, or the service. As with the other codes, the first sentence
    /// explains the meaning, and the others say what to do.
    RequestCode {
        /// The request cannot be parsed. `errors` names the parameter, the header or the position in the body.
        Malformed = "malformed",
        /// The API key is missing or unknown. Send a valid one, as in `Authorization: Bearer cwb_…`.
        Unauthorized = "unauthorized",
        /// The API key has no access to this path. Send a tenant's key, or the operator's key for `/tenants`.
        Forbidden = "forbidden",
        /// There is no such path or resource, or it belongs to another tenant. Check the address and the id.
        NotFound = "not_found",
        /// The path does not support the method. `Allow` lists the methods that it supports.
        MethodNotAllowed = "method_not_allowed",
        /// The body arrived too slowly. Send it again over a faster connection, or in smaller parts.
        BodyTooSlow = "body_too_slow",
        /// The resource has changed since it was read. Get it again, and repeat the change with its new `ETag`.
        VersionMismatch = "version_mismatch",
        /// The operator of the service requires each change to name the version that it applies to. Get the resource,
        /// and send its `ETag` as `If-Match`; in an edit of many lines, send the version of each.
        VersionRequired = "version_required",
        /// The body is too large. Send it in smaller parts.
        TooLarge = "too_large",
        /// The operation does not accept the body's media type. Send the header `Content-Type` that `detail` names.
        UnsupportedMediaType = "unsupported_media_type",
        /// A field is invalid. `errors` lists all invalid fields, each with its position and a code.
        Validation = "validation",
        /// A matching rule cannot be parsed. `errors` says where the error begins, and what was expected there.
        InvalidRule = "rule",
        /// The `Idempotency-Key` was used before with a different request. Send a new key with each new request.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// The service failed. Its log has the cause, under the request's id; repeat the request later.
        Internal = "internal",
        /// The service is busy with large bodies. Repeat the request after the seconds in `Retry-After`.
        Busy = "busy",
        /// The database cannot be reached or written, or is busy. Repeat the request after the seconds in
        /// `Retry-After`.
        Unavailable = "unavailable",
        /// The process cannot serve requests yet, or no longer. `detail` says why.
        NotReady = "not_ready",
    }
}

/// The kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemCode {
    /// It concerns the request itself, or the service.
    Request(RequestCode),
    /// The request conflicts with the current state.
    Conflict(ConflictCode),
    /// ConnectWise failed.
    ConnectWise(ConnectWiseCode),
}

impl ProblemCode {
    /// Every code that a problem can have: those of requests first, then conflicts, then ConnectWise's failures.
    pub fn all() -> impl Iterator<Item = Self> {
        let request = RequestCode::ALL.iter().copied().map(Self::Request);
        let conflicts = ConflictCode::ALL.iter().copied().map(Self::Conflict);
        request.chain(conflicts).chain(ConnectWiseCode::ALL.iter().copied().map(Self::ConnectWise))
    }

    /// The code with this text.
    pub fn find(text: &str) -> Option<Self> {
        Self::all().find(|code| code.as_str() == text)
    }

    /// The code of an error.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::Request(RequestCode::NotFound),
            Error::Invalid(_) => Self::Request(RequestCode::Validation),
            Error::Rule { .. } => Self::Request(RequestCode::InvalidRule),
            Error::Conflict { code, .. } => Self::Conflict(*code),
            Error::ConnectWise { code, .. } => Self::ConnectWise(*code),
            Error::VersionMismatch { .. } => Self::Request(RequestCode::VersionMismatch),
            Error::IdempotencyMismatch => Self::Request(RequestCode::IdempotencyKeyReused),
            Error::Unavailable(_) => Self::Request(RequestCode::Unavailable),
            Error::Internal(_) | Error::Tool(_) => Self::Request(RequestCode::Internal),
        }
    }

    /// The text, which callers compare.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request(code) => code.as_str(),
            Self::Conflict(code) => code.as_str(),
            Self::ConnectWise(code) => code.as_str(),
        }
    }

    /// The `type` of a problem: the address of its page.
    pub fn page(self) -> String {
        format!("{PAGES}/{}", self.as_str())
    }

    /// What the code means, and what to do: two texts.
    pub fn meaning(self) -> (String, String) {
        let text = match self {
            Self::Request(code) => code.meaning(),
            Self::Conflict(code) => code.meaning(),
            Self::ConnectWise(code) => code.meaning(),
        };
        let text = text.trim();
        let (meaning, advice) = text.split_once(". ").unwrap_or((text, ""));
        (format!("{meaning}."), advice.to_owned())
    }

    /// The HTTP status. A failure of ConnectWise that is worth a retry is 503 instead.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Request(code) => code.status(),
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::ConnectWise(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// A short name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Request(code) => code.title(),
            Self::Conflict(_) => "Conflict",
            Self::ConnectWise(_) => "ConnectWise failed",
        }
    }
}

impl RequestCode {
    const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            Self::VersionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Validation | Self::InvalidRule | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::Unavailable | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Bad request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::BodyTooSlow => "Request timeout",
            Self::VersionMismatch => "Precondition failed",
            Self::VersionRequired => "Precondition required",
            Self::TooLarge => "Content too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::Validation => "Validation failed",
            Self::InvalidRule => "Invalid rule",
            Self::IdempotencyKeyReused => "Idempotency-Key reused",
            Self::Internal => "Internal server error",
            Self::Busy | Self::Unavailable => "Service unavailable",
            Self::NotReady => "Not ready",
        }
    }
}

impl serde::Serialize for ProblemCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for ProblemCode {
    fn schema() -> RefOr<Schema> {
        let meanings = Self::all().map(|code| {
            let (name, status) = (code.as_str(), code.status().as_u16());
            format!("\n- `{name}` ({status}): {}", code.meaning().0)
        });
        enumeration(format!("The kind of a problem:\n{}", meanings.collect::<String>()), Self::all().map(Self::as_str))
    }
}

impl ToSchema for ProblemCode {
    fn name() -> Cow<'static, str> {
        "ProblemCode".into()
    }
}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        let description = "What is wrong with a field: its value, its expression or the record that it names";
        enumeration(description.to_owned(), Self::all().into_iter())
    }
}

impl ToSchema for ErrorCode {
    fn name() -> Cow<'static, str> {
        "FieldErrorCode".into()
    }
}

/// The schema of a member with one of these values, or a new one: a client that was generated from this document must
/// be able to read the errors of a later version.
pub(super) fn open_enumeration<T: ToSchema>() -> RefOr<Schema> {
    let known = Ref::from_schema_name(T::name());
    let any = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    AnyOfBuilder::new().item(known).item(any).into()
}

fn enumeration(description: String, values: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    schema.description(Some(description)).enum_values(Some(values)).into()
}
