#include "server/engine/shard_marks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vecino::engine {

void AddToMark(uint64_t item, int code, storage::Mark* mark) {
  mark->through = item;
  if (code == 0) return;
  // A caller has fewer items than this without an answer, and asks for no others again.
  if (mark->failures.size() == storage::Mark::kMaxFailures) {
    mark->failures.erase(mark->failures.begin());
  }
  mark->failures.push_back({item, code});
}

absl::Status RememberedStatus(const storage::Mark& mark, uint64_t item) {
  const auto found =
      std::lower_bound(mark.failures.begin(), mark.failures.end(), item,
                       [](const storage::Mark::Failure& f, uint64_t i) { return f.item < i; });
  if (found == mark.failures.end() || found->item != item) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(found->code);
  return absl::Status(code,
                      absl::StrCat("item ", item, " ended with ", absl::StatusCodeToString(code),
                                   " when it was sent before; the reason was said then"));
}

void ShardMarks::Set(storage::Mark mark) {
  absl::MutexLock lock(&mu_);
  std::string token = mark.token;
  marks_[std::move(token)] = std::move(mark);
}

storage::Mark ShardMarks::Get(std::string_view token) const {
  absl::MutexLock lock(&mu_);
  const auto found = marks_.find(std::string(token));
  if (found != marks_.end()) return found->second;
  storage::Mark mark;
  mark.token = std::string(token);
  return mark;
}

void ShardMarks::Forget(std::string_view token) {
  absl::MutexLock lock(&mu_);
  marks_.erase(std::string(token));
}

void ShardMarks::Replace(std::vector<storage::Mark> marks) {
  absl::MutexLock lock(&mu_);
  marks_.clear();
  for (storage::Mark& mark : marks) {
    std::string token = mark.token;
    marks_[std::move(token)] = std::move(mark);
  }
}

std::vector<storage::Mark> ShardMarks::All() const {
  absl::MutexLock lock(&mu_);
  std::vector<storage::Mark> marks;
  marks.reserve(marks_.size());
  for (const auto& [token, mark] : marks_) marks.push_back(mark);
  return marks;
}

}  // namespace vecino::engine
