// A collection's documents in a fixed order, a page at a time.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection.h"
#include "server/engine/read_budget.h"
#include "server/engine/validation.h"
#include "server/fields/passing.h"

namespace vecino::engine {
namespace {

// With so few documents that pass, they are looked up one by one; otherwise the ids are walked
// through.
constexpr int64_t kFew = 2048;
// Ids that are looked at together when a filter thins them out.
constexpr size_t kFilteredStep = 1024;

// About what a document takes in a reply.
size_t BytesOf(const storage::Document& document) {
  return document.id.size() + document.text.size() + document.metadata.size() +
         document.vector.size() * sizeof(float) + 64;
}

// Ids of one shard in their order, with the version that each had when it was looked at; all, or
// those that a filter lets pass. Without what has expired.
class IdWalk {
 public:
  using Ids = std::vector<std::pair<std::string, uint64_t>>;

  // All outlive it. filter: null for all.
  IdWalk(const Shard& shard, const fields::Filter* filter, int64_t now_us)
      : log_(shard.log()), now_us_(now_us) {
    if (filter != nullptr)
      passing_ = std::make_unique<fields::Passing>(shard.fields().Pin(), *filter);
  }

  // The next ids after `after`, at most `count`; none: there are no more.
  absl::StatusOr<Ids> Next(std::string_view after, size_t count) {
    if (passing_ == nullptr) return Walk(after, count);
    if (passing_->size() > kFew) return WalkFiltered(after, count);
    if (!few_.has_value()) {
      auto few = LookUp();
      if (!few.ok()) return few.status();
      few_ = *std::move(few);
    }
    const auto begin =
        std::upper_bound(few_->begin(), few_->end(), after,
                         [](std::string_view id, const auto& entry) { return id < entry.first; });
    return Ids(begin, begin + static_cast<ptrdiff_t>(std::min<size_t>(
                                  count, static_cast<size_t>(few_->end() - begin))));
  }

 private:
  absl::StatusOr<Ids> Walk(std::string_view after, size_t count) const {
    Ids ids;
    for (std::string at(after); ids.empty();) {
      const auto listed = log_.ListIds(at, count);
      if (!listed.ok()) return listed.status();
      if (listed->empty()) break;
      at = listed->back().first;
      for (const auto& [id, entry] : *listed) {
        if (!storage::IsExpired(entry.expire_time_us, now_us_))
          ids.emplace_back(id, entry.sequence);
      }
    }
    return ids;
  }
  absl::StatusOr<Ids> WalkFiltered(std::string_view after, size_t count) const {
    Ids ids;
    for (std::string at(after); ids.size() < count;) {
      auto walked = Walk(at, kFilteredStep);
      if (!walked.ok()) return walked.status();
      if (walked->empty()) break;
      at = walked->back().first;
      for (auto& entry : *walked) {
        if (ids.size() < count && passing_->Contains(entry.second)) ids.push_back(std::move(entry));
      }
    }
    return ids;
  }
  absl::StatusOr<Ids> LookUp() const {
    std::vector<uint64_t> sequences;
    passing_->ForEach([&](uint64_t label) { sequences.push_back(label); });
    const auto documents =
        log_.GetDocuments(sequences, {.text = false, .metadata = false, .vector = false});
    if (!documents.ok()) return documents.status();
    Ids ids;
    for (size_t i = 0; i < documents->size(); ++i) {
      const std::optional<storage::Document>& document = (*documents)[i];
      if (!document.has_value() || storage::IsExpired(document->expire_time_us, now_us_)) continue;
      ids.emplace_back(document->id, sequences[i]);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
  }

  const storage::ShardLog& log_;
  const int64_t now_us_;
  std::unique_ptr<const fields::Passing> passing_;  // null: all
  std::optional<Ids> few_;
};

}  // namespace

absl::StatusOr<IdPage> Collection::List(const IdPage::Position& from, int limit, size_t max_bytes,
                                        const storage::DocumentParts& parts,
                                        std::string_view text) const {
  if (limit < 1) {
    return InvalidField("page_size", absl::StrCat("is ", limit, ", must be 1 or more"));
  }
  if (from.shard < 0 || from.shard >= shard_count()) {
    return InvalidField("page_token",
                        absl::StrCat("names shard ", from.shard, ", there are ", shard_count()));
  }
  const auto filter = ReadFilter(text);
  if (!filter.ok()) return filter.status();
  IdPage page;
  IdPage::Position at = from;
  ReadBudget budget(max_bytes);
  const int64_t now_us = NowUs();
  bool too_large = false;  // the first document alone is over the limit; it is a page all the same
  const auto full = [&] { return page.documents.size() >= static_cast<size_t>(limit); };
  for (; at.shard < shard_count(); at = {at.shard + 1, ""}) {
    const Shard& shard = *shards_[at.shard];
    IdWalk walk(shard, filter->get(), now_us);
    while (true) {
      const size_t step =
          std::min(budget.NextStep(), static_cast<size_t>(limit) - page.documents.size());
      // One more when the page gets full, to know whether another page follows.
      const auto ids = walk.Next(at.after_id, full() ? 1 : step);
      if (!ids.ok()) return ids.status();
      if (ids->empty()) break;
      if (full()) {
        page.next = std::move(at);
        return page;
      }
      std::vector<uint64_t> sequences;
      for (const auto& [id, sequence] : *ids) sequences.push_back(sequence);
      auto documents = shard.log().GetDocuments(sequences, parts);
      if (!documents.ok()) return documents.status();
      for (size_t i = 0; i < documents->size(); ++i) {
        std::optional<storage::Document>& document = (*documents)[i];
        if (document.has_value()) {  // otherwise it was replaced or deleted just now
          const bool fits = !too_large && budget.Add(BytesOf(*document)).ok();
          if (!fits && !page.documents.empty()) {
            page.next = std::move(at);
            return page;
          }
          too_large = !fits;
          page.documents.push_back(*std::move(document));
        }
        at.after_id = (*ids)[i].first;
      }
    }
  }
  return page;
}

}  // namespace vecino::engine
