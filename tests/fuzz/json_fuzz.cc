// Whatever bytes come as the body of a call over HTTP: they are refused in words, or are a request
// that JSON and the wire say alike. Run by fuzz_driver.cc, or by libFuzzer with VECINO_FUZZER.
#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"
#include "server/rpc/json_reply.h"
#include "server/rpc/json_request.h"
#include "server/rpc/methods.h"
#include "server/rpc/wire.h"
#include "tests/server/rpc/same_json.h"

namespace vecino::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;

constexpr size_t kMaxBytes = 1 << 20;

void Require(bool holds, const char* what, const std::string& detail) {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, detail.substr(0, 2000).c_str());
  std::abort();
}

std::vector<const Descriptor*> RequestTypes() {
  std::vector<const Descriptor*> types;
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i) {
      types.push_back(service->method(i)->input_type());
    }
  }
  return types;
}

// Maps in order, so that equal messages have equal bytes.
std::string Bytes(const Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&out);
  }
  return bytes;
}

std::unique_ptr<Message> Parse(const Descriptor& type, const std::string& wire) {
  std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
  const grpc::Slice slice(wire.data(), wire.size());
  const absl::Status status = ReadMessage(grpc::ByteBuffer(&slice, 1), message.get());
  Require(status.ok(), "a request that was read cannot be parsed", status.ToString());
  return message;
}

void TryType(const Descriptor& type, std::string_view body) {
  std::string wire;
  const absl::Status status = ReadJson(type, body, kMaxBytes, &wire);
  if (!status.ok()) {
    Require(absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status),
            "refused with a code that is not the caller's", status.ToString());
    Require(!status.message().empty(), "refused without a word", std::string(body));
    const HttpReply error = JsonError(status);
    Require((error.status == 400 || error.status == 429) && nlohmann::json::accept(error.body),
            "an error that is no JSON", error.body);
    return;
  }
  Require(nlohmann::json::accept(body), "read what is no JSON", std::string(body));
  const auto message = Parse(type, wire);
  std::string text;
  const absl::Status written = WriteJson(*message, &text);
  if (!written.ok()) {
    // A mask may hold any string, and not every one has a name in JSON.
    Require(written.message().find("mask") != absl::string_view::npos, "cannot be written",
            written.ToString());
    return;
  }
  Require(nlohmann::json::accept(text), "wrote what is no JSON", text);
  std::string again;
  const absl::Status read = ReadJson(type, text, 8 * kMaxBytes, &again);
  Require(read.ok(), "what was written cannot be read", read.ToString() + " " + text);
  Require(Bytes(*Parse(type, again)) == Bytes(*message), "another request when read again", text);
  std::string peer;
  if (google::protobuf::util::MessageToJsonString(*message, &peer).ok()) {
    Require(SameJson(nlohmann::json::parse(text), nlohmann::json::parse(peer)),
            "protobuf writes otherwise", text + " " + peer);
  }
}

}  // namespace
}  // namespace vecino::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& types = *new std::vector(vecino::rpc::RequestTypes());
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const auto* type : types) vecino::rpc::TryType(*type, body);
  return 0;
}
