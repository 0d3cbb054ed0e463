# syntax=docker/dockerfile:1

# The builder runs on the platform that the image is for. For several platforms at once:
#   docker buildx build --platform linux/amd64,linux/arm64 .
# (emulation is slow with librdkafka and OpenSSL; the release workflow uses a native runner for each platform).
FROM rust:1.95-bookworm AS build
ARG TARGETPLATFORM
WORKDIR /build
COPY . .
# Cache mounts keep the compiled dependencies, instead of a layer: no extra tool, no stub sources, and after a change of
# Cargo.lock only the changed crates are compiled. The drawback: they are in the builder, not in the image's layers. A cache
# outlives checkouts, and cargo detects changes by time, so our own sources are touched: none must be older than what another
# checkout left there. The repository is no part of the context, so the commit is given: --build-arg REVISION=$(git rev-parse HEAD).
ARG REVISION=
RUN --mount=type=cache,id=flow-exporter-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=flow-exporter-target-${TARGETPLATFORM},target=/build/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && BUILD_REVISION=$REVISION cargo build --release --locked --bin flow-exporter \
    && mkdir -p /image/state \
    && id=$(readelf --notes target/release/flow-exporter | sed -n 's/^ *Build ID: //p') \
    && symbols=/symbols/usr/lib/debug/.build-id/$(printf %.2s "$id") \
    && mkdir -p "$symbols" \
    && objcopy --only-keep-debug --compress-debug-sections=zlib target/release/flow-exporter "$symbols/${id#??}.debug" \
    && objcopy --strip-all target/release/flow-exporter /image/flow-exporter

# The debug symbols of the image's program: docker build --target symbols --output type=local,dest=symbols .
FROM scratch AS symbols
COPY --from=build /symbols /

# glibc, libgcc and CA certificates, and no shell. OpenSSL, zstd and librdkafka are linked into the binary.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="flow-exporter" \
      org.opencontainers.image.description="Counts network flows by autonomous system, for Prometheus: scraped or pushed" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/flow-exporter /usr/local/bin/flow-exporter
COPY LICENSE NOTICE packaging/notices/third-party.txt /usr/share/doc/flow-exporter/
# By number, so that an orchestrator can see that it is not root. A new volume takes the owner from here.
COPY --from=build --chown=65532:65532 /image/state /var/lib/flow-exporter
USER 65532:65532
# A statically linked OpenSSL looks for certificates where it was built, unless it is told otherwise.
ENV FLOW_EXPORTER_STATE_DIR=/var/lib/flow-exporter \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
VOLUME /var/lib/flow-exporter
EXPOSE 9590
# With --collect=:2055. Routers are told apart by address, which a published port may hide: see docs/routers.md.
EXPOSE 2055/udp
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["/usr/local/bin/flow-exporter", "health"]
ENTRYPOINT ["/usr/local/bin/flow-exporter"]
