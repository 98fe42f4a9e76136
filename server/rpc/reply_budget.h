// Keeps a reply under the caller's limit while it is put together, so that one that is too large
// takes no more memory than the limit before it is refused.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "server/engine/types.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {

// What a caller can do about replies that are too large.
inline constexpr std::string_view kFewerIds =
    "ask for fewer ids, or name fewer fields in read_mask";
inline constexpr std::string_view kFewerHits = "lower top_k, or name fewer fields in read_mask";
inline constexpr std::string_view kFewerSearches =
    "send fewer searches, lower top_k, or name fewer fields in read_mask";
inline constexpr std::string_view kFewerFields = "name fewer fields in read_mask";

// Thread safety: none; one call uses it.
class ReplyBudget {
 public:
  // advice: one of those above.
  ReplyBudget(size_t max_bytes, std::string_view advice) : max_bytes_(max_bytes), advice_(advice) {}

  // Counts one more document. RESOURCE_EXHAUSTED, not to be retried, when it does not fit any more.
  absl::Status Add(const google::protobuf::Message& document) {
    bytes_ += document.ByteSizeLong();
    if (bytes_ <= max_bytes_) {
      ++documents_;
      return absl::OkStatus();
    }
    return Refusal(Concat("the documents take more than the ", max_bytes_,
                          " bytes that a reply may have; ", documents_, " fitted"));
  }

  // The engine's own refusal for a limit of max_bytes with the advice; any other status as it is.
  absl::Status Explain(const absl::Status& status) const {
    return engine::IsOverBudget(status) ? Refusal(ToStd(status.message())) : status;
  }

 private:
  absl::Status Refusal(std::string_view what) const {
    return NotRetryable(absl::ResourceExhaustedError(
        Concat(what, " (the limit is grpc.max-reply-bytes); ", advice_)));
  }

  const size_t max_bytes_;
  const std::string_view advice_;
  size_t bytes_ = 0;
  size_t documents_ = 0;
};

}  // namespace vecino::rpc
