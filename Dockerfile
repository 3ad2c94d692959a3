# kestrel in a container: docker build -t kestrel . ; docs/install.md tells how to run it.
# test/package/run.py does the steps of this file in a plain Debian system, and runs what comes out.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
    make gcc libc6-dev python3-dev cython3 python3-setuptools
COPY . /source
RUN make -C /source install PYTHON=/usr/bin/python3 DESTDIR=/image prefix=/usr

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
    python3-gevent python3-configobj python3-daemon python3-setproctitle python3-thrift \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /image /
COPY init/container.conf /etc/kestrel/kestrel.conf
RUN useradd --system --uid 999 --home-dir /var/spool/kestrel --shell /usr/sbin/nologin kestrel \
    && install -d -o kestrel -g kestrel -m 0750 /var/spool/kestrel
USER kestrel
VOLUME /var/spool/kestrel
EXPOSE 22133
# SIGTERM: what is being answered is finished, what is open goes back, the journals are synced
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/bin/python3", "-c", \
    "import socket; s = socket.create_connection(('127.0.0.1', 22133), 4); s.sendall(b'version\\r\\n'); assert s.recv(8) == b'VERSION '"]
ENTRYPOINT ["/usr/bin/kestrel"]
CMD ["--config", "/etc/kestrel/kestrel.conf"]
