#!/bin/sh
# Regenerates src/etcd/generated/ from src/etcd/proto/. The output is committed, so building and testing need no protoc.
# Needs: protoc (Debian package protobuf-compiler) and `npm ci` (protoc-gen-es).
set -eu
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo 'protoc is missing: apt-get install protobuf-compiler' >&2; exit 1; }
rm -rf src/etcd/generated
mkdir -p src/etcd/generated
# target=js+dts: the ts target would emit enums, which Node cannot run from TypeScript directly.
protoc -I src/etcd/proto --plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es \
  --es_out=src/etcd/generated --es_opt=target=js+dts,import_extension=js auth.proto kv.proto rpc.proto
