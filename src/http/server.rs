//! The HTTP server: start, serve, stop.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compress, Condition, DefaultHeaders, from_fn};
use actix_web::{App, HttpServer, web};
use tracing_actix_web::TracingLogger;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::console;
use super::kit::browsers;
use super::kit::fallback::{no_route, reject_nul};
use super::kit::problem::ApiError;
use super::kit::request_id::{self, RequestSpan};
use super::kit::served_document::ServedDocument;
use super::kit::settings::HttpSettings;
use super::openapi;
use super::resources::health;
use super::routes;
use crate::http::kit::unread_bodies;
use crate::services::AppContext;

/// A server that listens on an address.
pub struct Server {
    address: SocketAddr,
    serves_api: bool,
    serves_console: bool,
    running: actix_web::dev::Server,
}

impl Server {
    /// Creates a server on a bound listener. [`Server::run`] serves requests.
    pub fn start(listener: TcpListener, ctx: AppContext, settings: HttpSettings) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let document = ServedDocument::parse(openapi::COMMITTED).map_err(std::io::Error::other)?;
        let document = web::Data::new(document);
        let (threads, serves_api, serves_console) = (settings.threads, settings.serves_api, settings.serves_console);
        let limits = web::Data::new(settings.body_limits.clone());
        let origins = settings.cors_origins.clone();
        let (ctx, settings) = (web::Data::new(ctx), web::Data::new(settings));
        let running = HttpServer::new(move || {
            App::new()
                .app_data(ctx.clone())
                .app_data(settings.clone())
                .app_data(limits.clone())
                .app_data(document.clone())
                .app_data(web::PathConfig::default().error_handler(|_, _| ApiError::no_path().into()))
                .configure(routes::serve_operation)
                .configure(|config| {
                    if serves_api {
                        routes::serve_api(config);
                        // Registered first: it takes the root path.
                        if serves_console {
                            console::serve(config);
                        }
                        config
                            .service(swagger_ui())
                            .route("/swagger-ui", web::get().to(health::to_swagger_ui))
                            .route("/", web::get().to(health::to_swagger_ui));
                    }
                })
                .wrap(from_fn(browsers::conditional))
                .wrap(from_fn(browsers::limit_pages))
                .wrap(Compress::default())
                .wrap(from_fn(browsers::head))
                .wrap(TracingLogger::<RequestSpan>::new())
                .wrap(from_fn(reject_nul))
                .wrap(from_fn(browsers::options))
                .wrap(Condition::new(!origins.is_empty(), browsers::cors(&origins)))
                .wrap(from_fn(request_id::set))
                .wrap(
                    DefaultHeaders::new()
                        .add(("X-Content-Type-Options", "nosniff"))
                        .add(("Referrer-Policy", "no-referrer")),
                )
                // The outermost middleware: one outside of it that responds would drop the request's body.
                .wrap(from_fn(unread_bodies::close))
                .default_service(web::to(no_route))
        })
        .on_connect(unread_bodies::on_connect)
        // How long a connection with an unread body stays open after its response.
        .client_disconnect_timeout(Duration::from_secs(2))
        .workers(threads)
        .shutdown_timeout(5)
        .keep_alive(Duration::from_secs(75))
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(Self { address, serves_api, serves_console: serves_api && serves_console, running })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the server serves the API, and not only health and metrics.
    pub fn serves_api(&self) -> bool {
        self.serves_api
    }

    /// Whether the server serves the console.
    pub fn serves_console(&self) -> bool {
        self.serves_console
    }

    /// A handle that stops the server from another task.
    pub fn handle(&self) -> ServerHandle {
        self.running.handle()
    }

    /// Serves requests until the server is stopped.
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
