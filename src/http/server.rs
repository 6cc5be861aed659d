//! The HTTP server: binds, serves, stops.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Compress, DefaultHeaders, Next, from_fn};
use actix_web::{App, HttpRequest, HttpServer, ResponseError, web};
use secrecy::{ExposeSecret, SecretString};
use tracing_actix_web::TracingLogger;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::kit::extract::body_limits::BodyLimits;
use super::kit::problem::ApiError;
use super::kit::request_id::{self, RequestSpan};
use super::kit::unread;
use super::openapi::Document;
use super::resources::operations;
use super::routes;
use crate::domain::FieldError;
use crate::services::{Services, keys};

/// Renders the metrics.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct HttpSettings {
    /// The operator's key, where tenants are to be managed over HTTP.
    pub operator_key: Option<SecretString>,
    /// Renders the metrics.
    pub metrics: Option<RenderMetrics>,
    /// Whether the API is served, and not only how the process is.
    pub serves_api: bool,
    /// How many threads serve.
    pub threads: usize,
    /// What reading bodies may cost.
    pub body_limits: BodyLimits,
}

impl HttpSettings {
    /// Whether a presented key is the operator's.
    pub(super) fn is_operator(&self, known: &SecretString, presented: &str) -> bool {
        keys::is_operator(known.expose_secret(), presented)
    }
}

/// A server that has bound its address.
pub struct Server {
    address: SocketAddr,
    serves_api: bool,
    running: actix_web::dev::Server,
}

impl Server {
    /// Starts serving on a listener that is bound already.
    pub fn start(listener: TcpListener, services: Services, settings: HttpSettings) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let document = web::Data::new(Document::new());
        let (threads, serves_api) = (settings.threads, settings.serves_api);
        let (services, settings) = (web::Data::new(services), web::Data::new(settings));
        let running = HttpServer::new(move || {
            App::new()
                .app_data(services.clone())
                .app_data(settings.clone())
                .app_data(document.clone())
                .app_data(web::PathConfig::default().error_handler(|_, _| ApiError::no_path().into()))
                .configure(routes::serve_operation)
                .configure(|config| {
                    if serves_api {
                        routes::serve_api(config);
                        config
                            .service(swagger_ui())
                            .route("/swagger-ui", web::get().to(operations::to_swagger_ui))
                            .route("/", web::get().to(operations::to_swagger_ui));
                    }
                })
                .wrap(Compress::default())
                .wrap(TracingLogger::<RequestSpan>::new())
                .wrap(from_fn(refuse_nul))
                .wrap(from_fn(request_id::set))
                .wrap(
                    DefaultHeaders::new()
                        .add(("X-Content-Type-Options", "nosniff"))
                        .add(("Referrer-Policy", "no-referrer")),
                )
                // The outermost: what answers outside of it would drop the body.
                .wrap(from_fn(unread::close))
                .default_service(web::to(nothing_here))
        })
        .on_connect(unread::on_connect)
        // For so long a connection lingers that is closed with its body unread.
        .client_disconnect_timeout(Duration::from_secs(2))
        .workers(threads)
        .shutdown_timeout(5)
        .keep_alive(Duration::from_secs(75))
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(Self { address, serves_api, running })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it serves the API.
    pub fn serves_api(&self) -> bool {
        self.serves_api
    }

    /// Stops it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.running.handle()
    }

    /// Serves until stopped.
    pub async fn run(self) -> std::io::Result<()> {
        self.running.await
    }
}

fn swagger_ui() -> SwaggerUi {
    let config = Config::from("/openapi.json")
        .validator_url("none")
        .display_request_duration(true)
        .persist_authorization(true)
        .doc_expansion("none")
        .filter(true);
    SwaggerUi::new("/swagger-ui/{_:.*}").config(config)
}

/// No id and no text of ours holds a NUL, and PostgreSQL takes none.
async fn refuse_nul(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let refusal = if req.path().contains("%00") {
        ApiError::no_path()
    } else if req.query_string().contains("%00") {
        let error = FieldError::new("query", "bad_value", "a parameter holds a NUL character");
        ApiError::Malformed(vec![error])
    } else {
        return next.call(req).await.map(ServiceResponse::map_into_left_body);
    };
    Ok(req.into_response(refusal.error_response()).map_into_right_body())
}

/// Answers what no route answered: 405 with `Allow` where the path takes other methods, else 404.
pub(super) async fn nothing_here(
    req: HttpRequest,
    document: web::Data<Document>,
    settings: web::Data<HttpSettings>,
) -> actix_web::HttpResponse {
    if !settings.serves_api {
        return ApiError::no_api().error_response();
    }
    let methods = document.methods(req.path());
    if methods.is_empty() {
        return ApiError::no_path().error_response();
    }
    let mut allowed: Vec<&str> = methods.iter().map(actix_web::http::Method::as_str).collect();
    allowed.sort_unstable();
    ApiError::Method(allowed.join(", ")).error_response()
}
