//! The section `webhooks` of the document: the requests that are sent to webhooks.

use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema};

use crate::domain::string_enum::StringEnum;
use crate::domain::webhooks::EventType;

/// The schema of an event's body.
fn payload_of(event: EventType) -> &'static str {
    match event {
        EventType::PushJobFinished => "PushJobFinishedPayload",
        EventType::PushLineHeld | EventType::PushLineFailed => "PushLinesPayload",
        EventType::MappingStale | EventType::MappingAmbiguous => "MappingsPayload",
        EventType::UsageMissing => "UsageMissingPayload",
        EventType::ConnectionFailing => "ConnectionFailingPayload",
        EventType::Test => "TestPayload",
    }
}

/// The headers of every delivery.
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "The id of the event, the same for all attempts: ignore an event that was handled before"),
    ("webhook-timestamp", "When this attempt was made, in seconds since 1970: ignore one that is minutes old"),
    (
        "webhook-signature",
        "`v1,` and the base64 of the HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}` with the secret. During a \
         rotation there are two, separated by a space",
    ),
];

/// Adds the section.
pub(super) fn add(openapi: &mut OpenApi) {
    let mut paths = PathsBuilder::new();
    for event in EventType::VALUES {
        let body = RequestBodyBuilder::new().description(Some("The event")).required(Some(Required::True)).content(
            "application/json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name(payload_of(*event)))).build(),
        );
        let operation = OperationBuilder::new()
            .tag("webhooks")
            .operation_id(Some(format!("on_{}", event.as_str().replace('.', "_"))))
            .summary(Some(event.as_str()))
            .description(Some(event.meaning().trim()))
            .parameters(Some(HEADERS.map(header)))
            .request_body(Some(body.build()))
            .response("2XX", ResponseBuilder::new().description("The event was received: it is not sent again"))
            .response(
                "410",
                ResponseBuilder::new().description("The address no longer exists: the webhook is disabled"),
            )
            .response("default", ResponseBuilder::new().description("The event is sent again later"));
        paths = paths.path(event.as_str(), PathItem::new(HttpMethod::Post, operation));
    }
    openapi.webhooks = Some(paths.build());
}

fn header((name, description): (&str, &str)) -> Parameter {
    let text = RefOr::T(Schema::Object(ObjectBuilder::new().schema_type(Type::String).build()));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(text))
        .build()
}
