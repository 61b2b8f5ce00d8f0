# Two stages: everything that builds stays behind; what runs is one binary on a base without shell or package manager.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY templates templates
COPY assets assets
COPY migrations migrations
COPY config config
# Not built, but Cargo.toml names it.
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bin chancery && \
    install -D target/dist/chancery /out/usr/local/bin/chancery && \
    install -d -m 0700 /out/var/lib/chancery

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/usr/local/bin/chancery /usr/local/bin/chancery
COPY --from=build --chown=nonroot:nonroot /out/var/lib /var/lib
# The data folder is for SQLite and its generated master key; with PostgreSQL nothing is written there.
ENV CHANCERY_LISTEN=0.0.0.0:8080 \
    CHANCERY_MANAGEMENT_LISTEN=0.0.0.0:9080 \
    CHANCERY_SERVER__DATA_DIR=/var/lib/chancery \
    CHANCERY_LOG_FORMAT=json
USER nonroot
WORKDIR /var/lib/chancery
VOLUME /var/lib/chancery
EXPOSE 8080 9080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/chancery", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/chancery"]
CMD ["serve"]
