# Eventide in a container: the bundled command on a Node without a shell, as nobody, with nothing to write.
# The same image runs every command; without arguments it prints its help.
ARG NODE=24

FROM docker.io/library/node:${NODE}-bookworm-slim AS build
WORKDIR /build
# What is installed changes seldom, so it is a layer of its own.
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
RUN npm run build

FROM gcr.io/distroless/nodejs${NODE}-debian12:nonroot
WORKDIR /app
# The bundle has its packages in it; package.json says that its files are ES modules.
COPY --from=build /build/dist dist
COPY package.json LICENSE ./
ENV NODE_ENV=production
# In numbers, so that "runAsNonRoot" can be checked without a look at /etc/passwd.
USER 65532:65532
EXPOSE 6443 8080 8081 9443
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/eventide.js"]
CMD ["--help"]
