# Builds the service with TLS to PostgreSQL, and runs it as an unprivileged user.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libssl-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
# How SQLite is built.
COPY .cargo .cargo
# Cargo needs the files of every target in Cargo.toml, even if it does not build them.
COPY benches benches
COPY tests/api/main.rs tests/api/main.rs
COPY console console
COPY src src
COPY migrations migrations
COPY openapi openapi
RUN cargo build --release --locked --features postgres-tls

FROM debian:bookworm-slim
# CA certificates for ConnectWise's and PostgreSQL's TLS, OpenSSL for libpq, curl for the health check.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /data billing
COPY --from=build /src/target/release/connectwise-billing /usr/local/bin/
USER billing
WORKDIR /data
VOLUME /data
ENV CWB_LISTEN=0.0.0.0:8080 CWB_DATABASE_URL=sqlite:/data/connectwise-billing.db CWB_LOG_FORMAT=json
# Returns the memory of large responses to the system (docs/OPERATIONS.md).
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["curl", "-sf", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["connectwise-billing"]
CMD ["serve"]
