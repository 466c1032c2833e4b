# syntax=docker/dockerfile:1
# lockgate in a small image: built with Rust, run on a slim Debian as nobody in particular.
FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
COPY . .
# Without the demonstration: no embedded broker in production. With the export of traces.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --no-default-features --features otlp \
    && cp target/release/lockgate /usr/local/bin/lockgate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=builder /usr/local/bin/lockgate /usr/local/bin/lockgate
# The configuration is mounted at /lockgate/config; LOCKGATE_ENV chooses the file in it.
WORKDIR /lockgate
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks the admin listener at its usual port, from inside, where it needs no token.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["lockgate"]
CMD ["run"]
