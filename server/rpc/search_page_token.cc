#include "server/rpc/search_page_token.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "absl/strings/escaping.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// Layout, numbers little-endian: version (1 byte), shard (1), depth (4), score (4, as float32),
// sequence (8), checksum (8). Collection and search are in the checksum only.
constexpr uint8_t kVersion = 1;
constexpr size_t kShardAt = 1, kDepthAt = 2, kScoreAt = 6, kSequenceAt = 10, kChecksumAt = 18;
using Bytes = std::array<char, kChecksumAt + 8>;
static_assert(std::endian::native == std::endian::little);
static_assert(engine::Limits::kMaxShards <= 256);

template <class Number>
void Put(Bytes& bytes, size_t at, Number number) {
  std::memcpy(bytes.data() + at, &number, sizeof(number));
}
template <class Number>
Number Get(const Bytes& bytes, size_t at) {
  Number number;
  std::memcpy(&number, bytes.data() + at, sizeof(number));
  return number;
}

// A checksum of 64 bits, eight bytes a step: a query's vector has thousands of them, and every
// search's reply may have a token.
class Checksum {
 public:
  void Add(uint64_t word) {
    hash_ = (hash_ ^ word) * 0x9e3779b97f4a7c15;
    hash_ ^= hash_ >> 32;
  }
  // With its length, so that what stands in one part cannot stand in the next.
  void Add(std::string_view bytes) {
    Add(bytes.size());
    for (; bytes.size() >= 8; bytes.remove_prefix(8)) {
      uint64_t word;
      std::memcpy(&word, bytes.data(), 8);
      Add(word);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, bytes.data(), bytes.size());
    Add(rest);
  }
  void Add(const google::protobuf::MessageLite& message) {
    Add(std::string_view(message.SerializeAsString()));  // no maps, so always the same
  }
  uint64_t sum() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

uint64_t ChecksumOf(std::string_view collection, const v1::SearchDocumentsRequest& request,
                    std::string_view body) {
  using Request = v1::SearchDocumentsRequest;
  Checksum sum;
  sum.Add(body);
  sum.Add(collection);
  sum.Add(static_cast<uint64_t>(request.query_case()));
  switch (request.query_case()) {
    case Request::kText:
      sum.Add(std::string_view(request.text()));
      break;
    case Request::kVector: {
      // Either form of a vector, and the same number for both.
      const auto& values = request.vector().values();
      sum.Add(values.empty() ? std::string_view(request.vector().float32_le())
                             : std::string_view(reinterpret_cast<const char*>(values.data()),
                                                values.size() * sizeof(float)));
      break;
    }
    case Request::kDocumentId:
      sum.Add(std::string_view(request.document_id()));
      break;
    case Request::kExpression:
      sum.Add(request.expression());
      break;
    case Request::kLexical:
      sum.Add(request.lexical());
      break;
    case Request::QUERY_NOT_SET:
      break;
  }
  const bool automatic = request.truncate() == v1::TRUNCATE_MODE_AUTO;  // as if it were not set
  sum.Add(static_cast<uint64_t>(automatic ? v1::TRUNCATE_MODE_UNSPECIFIED : request.truncate()));
  sum.Add(static_cast<uint64_t>(request.effort_case()));
  if (request.has_recall_target()) sum.Add(std::bit_cast<uint64_t>(request.recall_target()));
  if (request.has_parameters()) sum.Add(request.parameters());
  sum.Add(std::string_view(request.filter()));
  sum.Add(request.has_min_score() ? 1 + uint64_t{std::bit_cast<uint32_t>(request.min_score())} : 0);
  return sum.sum();
}

std::string_view BodyOf(const Bytes& bytes) { return {bytes.data(), kChecksumAt}; }

}  // namespace

std::string MakeSearchPageToken(std::string_view collection,
                                const v1::SearchDocumentsRequest& request,
                                const engine::SearchPosition& position) {
  Bytes bytes{};
  Put(bytes, 0, kVersion);
  Put(bytes, kShardAt, static_cast<uint8_t>(position.shard));
  Put(bytes, kDepthAt, static_cast<int32_t>(position.depth));
  Put(bytes, kScoreAt, position.score);
  Put(bytes, kSequenceAt, position.sequence);
  Put(bytes, kChecksumAt, ChecksumOf(collection, request, BodyOf(bytes)));
  return absl::WebSafeBase64Escape(absl::string_view(bytes.data(), bytes.size()));
}

absl::StatusOr<engine::SearchPosition> ReadSearchPageToken(
    std::string_view collection, const v1::SearchDocumentsRequest& request) {
  const std::string& token = request.page_token();
  std::string decoded;
  Bytes bytes;
  if (absl::WebSafeBase64Unescape(token, &decoded) && decoded.size() == bytes.size() &&
      absl::WebSafeBase64Escape(decoded) == token) {
    std::memcpy(bytes.data(), decoded.data(), bytes.size());
    engine::SearchPosition position;
    position.shard = Get<uint8_t>(bytes, kShardAt);
    position.depth = Get<int32_t>(bytes, kDepthAt);
    position.score = Get<float>(bytes, kScoreAt);
    position.sequence = Get<uint64_t>(bytes, kSequenceAt);
    if (Get<uint8_t>(bytes, 0) == kVersion && position.depth > 0 && !std::isnan(position.score) &&
        Get<uint64_t>(bytes, kChecksumAt) == ChecksumOf(collection, request, BodyOf(bytes))) {
      return position;
    }
  }
  return engine::InvalidField("page_token",
                              "is not one that this search returned; repeat the search as it was, "
                              "or leave the token empty to start again");
}

}  // namespace vecino::rpc
