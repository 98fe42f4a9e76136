#include "server/rpc/wire.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <limits>
#include <map>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"
#include "server/engine/types.h"
#include "server/engine/utf8.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Metadata may be 32 levels deep, each of them three messages. Twice that, so that what is somewhat
// too deep is refused by the check that can say so.
constexpr int kMaxNesting = 200;

std::string Contiguous(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

std::string FindInvalidUtf8(const google::protobuf::Descriptor& type, std::string_view bytes,
                            int depth) {
  if (depth > kMaxNesting) return "";
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size()));
  std::map<int, int> seen;  // elements so far, by field number
  while (const uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return "";
      continue;
    }
    uint32_t length = 0;
    if (!in.ReadVarint32(&length)) return "";
    const size_t start = static_cast<size_t>(in.CurrentPosition());
    if (length > bytes.size() - start) return "";
    const std::string_view value = bytes.substr(start, length);
    in.Skip(static_cast<int>(length));
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (field == nullptr) continue;
    std::string path(field->name());
    if (field->is_repeated()) path += Concat("[", seen[field->number()]++, "]");
    if (field->type() == FieldDescriptor::TYPE_STRING && engine::FindInvalidUtf8(value).has_value())
      return path;
    if (field->type() != FieldDescriptor::TYPE_MESSAGE) continue;
    const std::string inner = FindInvalidUtf8(*field->message_type(), value, depth + 1);
    if (!inner.empty()) return Concat(path, ".", inner);
  }
  return "";
}

}  // namespace

std::string FindInvalidUtf8(const google::protobuf::Descriptor& type, std::string_view bytes) {
  return FindInvalidUtf8(type, bytes, 0);
}

absl::Status ReadMessage(const grpc::ByteBuffer& buffer, google::protobuf::Message* message) {
  if (buffer.Valid()) {
    grpc::ByteBuffer copy(buffer);  // the reader takes slices out; they are counted, not copied
    grpc::ProtoBufferReader reader(&copy);
    CodedInputStream in(&reader);
    in.SetRecursionLimit(kMaxNesting);
    in.SetTotalBytesLimit(std::numeric_limits<int>::max());
    if (reader.status().ok() && message->ParseFromCodedStream(&in) && in.ConsumedEntireMessage()) {
      return absl::OkStatus();
    }
  }
  const std::string field = FindInvalidUtf8(*message->GetDescriptor(), Contiguous(buffer));
  if (!field.empty()) return engine::InvalidField(field, "is not UTF-8");
  return absl::InvalidArgumentError(
      Concat("the request is not a ", message->GetDescriptor()->full_name(),
             ": it is malformed, or nested deeper than ", kMaxNesting, " messages"));
}

absl::Status WriteMessage(const google::protobuf::Message& message, size_t max_bytes,
                          std::string_view advice, grpc::ByteBuffer* buffer) {
  const size_t bytes = message.ByteSizeLong();
  if (bytes > max_bytes) {
    return NotRetryable(
        absl::ResourceExhaustedError(Concat("the reply would take ", bytes, " bytes; the limit is ",
                                            max_bytes, " (grpc.max-reply-bytes); ", advice)));
  }
  bool own_buffer = true;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, buffer,
                                                                                 &own_buffer);
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(Concat("writing the reply failed: ", status.error_message()));
}

}  // namespace vecino::rpc
