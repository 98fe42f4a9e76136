// What a collection answers about documents by their fields.
#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection.h"
#include "server/engine/live_passing.h"
#include "server/engine/validation.h"
#include "server/fields/passing.h"

namespace vecino::engine {
namespace {

// Values of vectors in a collection in which a search under any filter takes less than a
// millisecond: of 2,000,000 rows of 384, of which 1% pass, 20,000 rows of 8 bits are compared (some
// 200 us).
constexpr int64_t kMostShortValues = 768'000'000;
// With the newest documents' metadata, which nothing is known of: some 100 us.
constexpr int64_t kMostShortComparisons = 2'000;

FieldValue ToValue(const fields::Literal& literal) {
  switch (literal.type) {
    case fields::ValueType::kBool:
      return literal.boolean;
    case fields::ValueType::kNumber:
      return literal.number;
    default:
      return literal.text;
  }
}

// A field as callers write it, such as `author."first.name"`, as a path of fields.
absl::StatusOr<std::string> ReadPath(std::string_view name, std::string_view field) {
  auto filter = fields::Filter::Parse(
      absl::StrCat("exists(", absl::string_view(field.data(), field.size()), ")"));
  if (!filter.ok() || (*filter)->root().kind != fields::Expression::Kind::kCondition) {
    return InvalidField(
        name,
        absl::StrCat("is `", absl::string_view(field.data(), field.size()),
                     "`, which is not the name of a field; names go by dots into objects, and "
                     "those with other characters stand in quotes"));
  }
  return (*filter)->root().condition.path;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const fields::Filter>> Collection::ReadFilter(
    std::string_view text) const {
  if (text.empty()) return std::shared_ptr<const fields::Filter>();
  if (absl::Status status = CheckText("filter", text); !status.ok()) return status;
  auto filter = context_.filter_texts->Read(text);
  if (!filter.ok()) return InvalidField("filter", std::string(filter.status().message()));
  if ((*filter)->all()) return std::shared_ptr<const fields::Filter>();
  std::vector<std::shared_ptr<const fields::FieldView>> views;
  for (const auto& shard : shards_) views.push_back(shard->fields().Pin());
  absl::Status status = fields::CheckFilter(views, **filter);
  if (absl::IsInvalidArgument(status)) return InvalidField("filter", std::string(status.message()));
  if (!status.ok()) return status;
  return filter;
}

bool Collection::IsFilterAtHand(std::string_view text) const {
  if (text.empty()) return true;
  const auto filter = context_.filter_texts->Find(text);
  if (filter == nullptr) return false;
  if (filter->all()) return true;
  const IndexKind kind = index_spec().kind;
  if (kind != IndexKind::kAuto && kind != IndexKind::kFlat) return false;
  int64_t rows = 0, open = 0;
  for (const auto& shard : shards_) {
    if (shard->AnyExpired()) return false;
    const std::shared_ptr<const index::View> view = shard->PinRows();
    for (const index::SegmentRows& part : view->segments) {
      rows += part.segment->size();
      const FilterCache::Rows passing = context_.filters->Peek(part.segment->id(), filter->key());
      // The next search copies codes, which may take milliseconds.
      if (passing == nullptr || passing->IsDue()) return false;
    }
    // What tails have stands in the last parts of the fields.
    uint64_t oldest = std::numeric_limits<uint64_t>::max();
    const auto add = [&](const index::Tail& tail) {
      if (tail.size() == 0) return;
      rows += tail.size();
      oldest = std::min(oldest, shard->labels().SequenceOf(tail.label(0)));
    };
    for (const auto& tail : view->frozen) add(*tail);
    add(*view->tail);
    const std::shared_ptr<const fields::FieldView> fields = shard->fields().Pin();
    open += fields->chunk->size();
    for (const fields::FieldPart& part : fields->parts) {
      const fields::FieldSegment& segment = *part.segment;
      if (segment.label(segment.size() - 1) >= oldest &&
          !context_.filters->ContainsSlots(segment.id(), filter->key())) {
        return false;
      }
    }
  }
  return rows * info_.spec.dimension <= kMostShortValues &&
         open * filter->comparisons() <= kMostShortComparisons;
}

absl::StatusOr<int64_t> Collection::Count(std::string_view text) const {
  const auto filter = ReadFilter(text);
  if (!filter.ok()) return filter.status();
  if (*filter == nullptr) return LiveDocuments();
  int64_t count = 0;
  for (const auto& shard : shards_) {
    count += LivePassing(*shard, **filter).CountLive();
  }
  return count;
}

absl::StatusOr<std::vector<Facet>> Collection::CountValues(std::span<const std::string> names,
                                                           std::string_view text, int limit) const {
  if (names.empty() || names.size() > Limits::kMaxFacets) {
    return InvalidField("fields", absl::StrCat("has ", names.size(), " fields; it must have 1 to ",
                                               Limits::kMaxFacets));
  }
  if (limit < 1 || limit > Limits::kMaxFacetValues) {
    return InvalidField("limit",
                        absl::StrCat("is ", limit, "; it must be 1 to ", Limits::kMaxFacetValues));
  }
  std::vector<std::string> paths;
  for (size_t i = 0; i < names.size(); ++i) {
    auto path = ReadPath(absl::StrCat("fields[", i, "]"), names[i]);
    if (!path.ok()) return path.status();
    paths.push_back(*std::move(path));
  }
  auto filter = ReadFilter(text.empty() ? "*" : text);
  if (!filter.ok()) return filter.status();
  if (*filter == nullptr) filter = fields::Filter::Parse("*");
  std::vector<Facet> facets(names.size());
  std::vector<std::map<FieldValue, int64_t>> counts(names.size());
  for (const auto& shard : shards_) {
    const fields::Passing passing = LivePassing(*shard, **filter);
    for (size_t i = 0; i < paths.size(); ++i) {
      passing.ForEachValue(
          paths[i],
          [&](const fields::Literal& value, int64_t count) { counts[i][ToValue(value)] += count; },
          &facets[i].documents);
    }
  }
  for (size_t i = 0; i < facets.size(); ++i) {
    facets[i].field = names[i];
    facets[i].distinct_values = static_cast<int64_t>(counts[i].size());
    for (auto& [value, count] : counts[i]) facets[i].values.push_back({value, count});
    // Values of a map are in order, and stay so where counts are equal.
    std::stable_sort(
        facets[i].values.begin(), facets[i].values.end(),
        [](const Facet::Value& a, const Facet::Value& b) { return a.count > b.count; });
    if (facets[i].values.size() > static_cast<size_t>(limit))
      facets[i].values.resize(static_cast<size_t>(limit));
  }
  return facets;
}

}  // namespace vecino::engine
