#include "server/engine/ingest_tokens.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vecino::engine {

void IngestTokens::Add(std::string_view token, int64_t time_us) {
  absl::MutexLock lock(&mu_);
  Use& use = tokens_[std::string(token)];
  use.time_us = std::max(use.time_us, time_us);
}

absl::Status IngestTokens::Open(std::string_view token, int64_t now_us, std::string* forget) {
  forget->clear();
  const std::string name(token);
  absl::MutexLock lock(&mu_);
  if (const auto found = tokens_.find(name); found != tokens_.end()) {
    if (found->second.open) {
      return absl::AbortedError(
          absl::StrCat("another stream with resume_token `", name, "` is open"));
    }
  } else if (tokens_.size() >= kMaxTokens) {
    auto oldest = tokens_.end();
    for (auto it = tokens_.begin(); it != tokens_.end(); ++it) {
      if (it->second.open) continue;
      if (oldest == tokens_.end() || it->second.time_us < oldest->second.time_us) oldest = it;
    }
    if (oldest == tokens_.end()) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the collection has ", tokens_.size(), " streams with a resume_token open, at most ",
          kMaxTokens, "; wait for one to end, or leave resume_token empty"));
    }
    *forget = oldest->first;
    tokens_.erase(oldest);
  }
  tokens_[name] = {now_us, true};
  return absl::OkStatus();
}

void IngestTokens::Close(std::string_view token, bool keep, int64_t now_us) {
  absl::MutexLock lock(&mu_);
  if (keep) {
    tokens_[std::string(token)] = {now_us, false};
  } else {
    tokens_.erase(std::string(token));
  }
}

}  // namespace vecino::engine
