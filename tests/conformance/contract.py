"""The contract as the server tells it by reflection, as the .proto files document it, and calls made from nothing else."""

import pathlib
import re

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SERVICES = re.compile(r"^(vecino\.v1\..+|google\.longrunning\.Operations)$")
CODE = grpc.StatusCode
CODES = {code.name: code for code in CODE}
# Other RPCs whose errors a comment refers to, such as "Errors as SearchDocuments", "Otherwise as RetrainIndex".
REFERENCE = re.compile(r"\b(?:Errors|Otherwise|otherwise|errors|refuses the whole request,) (?:as|as in|in) ([A-Z]\w+)")


def _reflection_messages():
    """Request and response of grpc.reflection.v1alpha, with the fields that are used here."""
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc/reflection/v1alpha/reflection.proto", package="grpc.reflection.v1alpha", syntax="proto3"
    )
    types = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, field, type_name, repeated in fields:
            made.field.add(
                name=field, number=number, label=types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL,
                type=types.TYPE_MESSAGE if type_name not in ("string", "bytes") else
                types.TYPE_STRING if type_name == "string" else types.TYPE_BYTES,
                type_name=None if type_name in ("string", "bytes") else f".grpc.reflection.v1alpha.{type_name}",
            )  # fmt: skip

    message("Request", (4, "file_containing_symbol", "string", False), (3, "file_by_filename", "string", False),
            (7, "list_services", "string", False))  # fmt: skip
    message("Files", (1, "file_descriptor_proto", "bytes", True))
    message("Service", (1, "name", "string", False))
    message("Services", (1, "service", "Service", True))
    message("Error", (2, "error_message", "string", False))
    message("Response", (4, "files", "Files", False), (6, "services", "Services", False), (7, "error", "Error", False))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())

    def get(name):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.reflection.v1alpha.{name}"))
    return get("Request"), get("Response")


class Contract:
    """What the server says of its services: descriptors by reflection, in a pool of their own."""

    def __init__(self, channel):
        request, response = _reflection_messages()
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=request.SerializeToString, response_deserializer=response.FromString,
        )  # fmt: skip

        def ask(**fields):
            (reply,) = call(iter([request(**fields)]), timeout=30)
            if reply.error.error_message:
                raise AssertionError(f"reflection of {fields}: {reply.error.error_message}")
            return reply

        self.all_services = sorted(one.name for one in ask(list_services="*").services.service)
        files = {}

        def add(serialized):
            file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
            files[file.name] = file

        for name in self.all_services:
            if SERVICES.match(name):
                for one in ask(file_containing_symbol=name).files.file_descriptor_proto:
                    add(one)
        # Types that appear only inside google.protobuf.Any.
        for symbol in ("vecino.v1.IndexOperationMetadata", "google.rpc.BadRequest", "google.rpc.RetryInfo"):
            for one in ask(file_containing_symbol=symbol).files.file_descriptor_proto:
                add(one)
        pool = descriptor_pool.DescriptorPool()
        added = set()

        def build(name):
            if name in added:
                return
            added.add(name)
            if name not in files:
                for one in ask(file_by_filename=name).files.file_descriptor_proto:
                    add(one)
            for dependency in files[name].dependency:
                build(dependency)
            pool.AddSerializedFile(files[name].SerializeToString())

        for name in list(files):
            build(name)
        self.pool = pool
        self.files = files
        self.services = [pool.FindServiceByName(name) for name in self.all_services if SERVICES.match(name)]
        # By `vecino.v1.DocumentService/GetDocument`.
        self.methods = {f"{service.full_name}/{method.name}": method for service in self.services for method in service.methods}

    def message(self, full_name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(full_name))

    def make(self, descriptor, fields):
        """A message from a dict in the form of proto3 JSON, with the field names of the .proto."""
        made = message_factory.GetMessageClass(descriptor)()
        return json_format.ParseDict(fields, made, descriptor_pool=self.pool)

    def unpack(self, any_message):
        """What a google.protobuf.Any holds."""
        made = self.message(any_message.type_url.rpartition("/")[2])()
        made.ParseFromString(any_message.value)
        return made


class Refusal:
    """An error as a caller sees it."""

    def __init__(self, contract, error):
        self.code = error.code()
        self.message = error.details() or ""
        self.field = None
        self.retry = False
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = contract.message("google.rpc.Status").FromString(value)
                self._read(contract, status)

    def _read(self, contract, status):
        for detail in status.details:
            unpacked = contract.unpack(detail)
            name = unpacked.DESCRIPTOR.full_name
            if name == "google.rpc.BadRequest" and unpacked.field_violations:
                self.field = unpacked.field_violations[0].field
                if not unpacked.field_violations[0].description:
                    raise AssertionError(f"the violation of {self.field} has no description")
            self.retry = self.retry or name == "google.rpc.RetryInfo"

    def __str__(self):
        return f"{self.code.name}: {self.message} (field {self.field})"


class Api:
    """Calls by name, with dicts for requests, over one connection."""

    def __init__(self, address, contract=None):
        # Windows of 64 KiB: a stream that is not read from soon holds up the server.
        options = {"grpc.use_local_subchannel_pool": 1, "grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 65535}
        self.channel = grpc.insecure_channel(address, options=list(options.items()))
        self.contract = contract or Contract(self.channel)

    def start(self, rpc, request=None, timeout=60, raw=None):
        """The call as grpcio returns it: a future for unary ones, an iterator for streams. `request` is a dict, or for
        a stream of requests an iterable of dicts; `raw` are the bytes to send instead."""
        method = self.contract.methods[rpc]
        many = method.client_streaming, method.server_streaming
        kind = {(False, False): "unary_unary", (False, True): "unary_stream", (True, True): "stream_stream"}[many]
        reply = message_factory.GetMessageClass(method.output_type)
        make = (lambda fields: fields) if raw is not None else lambda fields: self.contract.make(method.input_type, fields)
        serialize = (lambda sent: sent) if raw is not None else lambda sent: sent.SerializeToString()
        call = getattr(self.channel, kind)(
            f"/{rpc}", request_serializer=serialize, response_deserializer=reply.FromString
        )
        given = raw if raw is not None else request
        if method.client_streaming:
            return call((make(one) for one in given), timeout=timeout)
        message = make(given or {} if raw is None else given)
        return call.future(message, timeout=timeout) if kind == "unary_unary" else call(message, timeout=timeout)

    def call(self, rpc, request=None, timeout=60, raw=None):
        """The reply, or a list of all replies of a stream."""
        started = self.start(rpc, request, timeout, raw)
        return list(started) if self.contract.methods[rpc].server_streaming else started.result()

    def refusal(self, rpc, request=None, timeout=60, raw=None):
        """How a call fails, or None when it does not."""
        try:
            self.call(rpc, request, timeout, raw)
        except grpc.RpcError as error:
            return Refusal(self.contract, error)
        return None


OPERATIONS = "google.longrunning.Operations"


class Documented:
    """The error codes that the comments of the .proto files name. By RPC: `own` are those of the comments above it and above
    its request's fields, `service` those above its service, `named` those above it or its service: what a reader finds."""

    def __init__(self, proto_folder):
        self.own, self.service, self.named = {}, {}, {}
        self._comments, self._requests, service_comments, field_comments = {}, {}, {}, {}
        for path in sorted(pathlib.Path(proto_folder).rglob("*.proto")):
            self._read(path, service_comments, field_comments)
        comments = {}
        for rpc, comment in self._comments.items():
            service = rpc.partition("/")[0]
            self.own[rpc] = _codes(comment + field_comments.get(self._requests[rpc], ""))
            self.service[rpc] = _codes(service_comments[service])
            comments[rpc] = _codes(comment)
            self.named[rpc] = comments[rpc] | self.service[rpc]
            if service == OPERATIONS:
                # The file is Google's; what the server does stands at the beginning of ours.
                self.named[rpc] |= _codes(self._operations)
        for rpc, comment in self._comments.items():
            for name in REFERENCE.findall(comment):
                other = rpc.partition("/")[0] + "/" + name
                if other not in self.own:
                    raise AssertionError(f"the comment of {rpc} refers to {name}, which is not in its service")
                self.own[rpc] |= self.own[other]
                self.named[rpc] |= comments[other]

    def _read(self, path, service_comments, field_comments):
        package = service = message = ""
        comment = []
        for line in path.read_text(encoding="utf-8").splitlines():
            stripped = line.strip()
            if stripped.startswith("//"):
                if not stripped.startswith("// buf:"):
                    comment.append(stripped[2:].strip())
                continue
            text = " ".join(comment) + " "
            if path.name == "index_operation.proto" and line.startswith("syntax"):
                self._operations = text
            if match := re.match(r"package ([\w.]+);", line):
                package = match[1]
            elif match := re.match(r"service (\w+)", line):
                service = f"{package}.{match[1]}"
                service_comments[service] = text
            elif match := re.match(r"  rpc (\w+)\((?:stream )?([\w.]+)\)", line):
                rpc = f"{service}/{match[1]}"
                self._comments[rpc] = text
                self._requests[rpc] = match[2]
            elif match := re.match(r"message (\w+)", line):
                message = match[1]
            elif re.match(r" +(?:optional |repeated )?[\w.]+ \w+ = \d+", line):
                field_comments[message] = field_comments.get(message, "") + text
            comment = []


def _codes(text):
    return {word for word in re.findall(r"\b[A-Z][A-Z_]+\b", text) if word in CODES and word != "OK"}
