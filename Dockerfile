# syntax=docker/dockerfile:1
# One image for every part: `docker build -t viewstone .`, then what follows the image's name is what
# follows `viewstone` on the command line.

FROM rust:1.95.0-slim-bookworm AS build
# The image's own toolchain is the one that rust-toolchain.toml asks for: nothing is to be fetched.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# What was compiled before is kept between builds, not in the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked -p viewstone \
    && strip -o /viewstone target/release/viewstone

FROM debian:bookworm-slim
# A volume that is empty takes the owner of what it is mounted on.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin viewstone \
    && install -d -o viewstone -g viewstone -m 0700 /data /keys
COPY --from=build /viewstone /usr/local/bin/viewstone
USER 10001:10001
WORKDIR /data
# Fewer pools of memory than the C library would make: the same speed, less memory.
ENV VIEWSTONE_DIR=/data MALLOC_ARENA_MAX=2
VOLUME ["/data"]
EXPOSE 9000/tcp 7400/udp
STOPSIGNAL SIGTERM
# A replica or a node. A gateway answers at another port: see docker-compose.yml.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["viewstone", "probe", "http://127.0.0.1:9100/readyz"]
ENTRYPOINT ["viewstone"]
CMD ["node"]
