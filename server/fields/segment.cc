#include "server/fields/segment.h"

#include <algorithm>
#include <atomic>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/segment_file.h"

namespace vecino::fields {
namespace {

constexpr std::string_view kType = "fields";

uint64_t NextId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1);
}

// Of rows, if one has words.
std::shared_ptr<const Postings> BuildPostings(std::span<const Row> rows) {
  std::vector<const DocumentTerms*> words;
  bool any = false;
  for (const Row& row : rows) {
    words.push_back(row.words.empty() ? nullptr : &row.words);
    any = any || !row.words.empty();
  }
  if (!any) return nullptr;
  return *Postings::Build(words);  // a chunk's texts are far from 4 GiB
}

// Of what is left of the sources, if that has words.
std::shared_ptr<const Postings> MergePostings(std::span<const FieldSegment* const> sources,
                                              const std::vector<std::vector<uint32_t>>& maps,
                                              uint32_t rows) {
  std::vector<Postings::Input> inputs;
  for (size_t s = 0; s < sources.size(); ++s) {
    if (sources[s]->postings() != nullptr) inputs.push_back({sources[s]->postings(), maps[s]});
  }
  if (inputs.empty()) return nullptr;
  // Their bytes are bounded (FieldIndex::kMostPostings), so their terms have room.
  auto merged = *Postings::Merge(inputs, rows, [] { return absl::OkStatus(); });
  return merged->documents_with_words() == 0 ? nullptr : merged;
}

}  // namespace

FieldSegment::FieldSegment(std::vector<uint64_t> labels, std::shared_ptr<const Columns> columns,
                           std::shared_ptr<const Postings> postings)
    : id_(NextId()),
      labels_(std::move(labels)),
      columns_(std::move(columns)),
      postings_(std::move(postings)) {}

std::shared_ptr<const FieldSegment> FieldSegment::Build(std::vector<uint64_t> labels,
                                                        std::span<const Row> rows) {
  return std::shared_ptr<const FieldSegment>(
      new FieldSegment(std::move(labels), Columns::Build(rows), BuildPostings(rows)));
}

std::shared_ptr<const FieldSegment> FieldSegment::Merge(
    std::span<const FieldSegment* const> sources, std::span<const std::vector<uint64_t>> dead,
    std::vector<std::vector<uint32_t>>* maps) {
  maps->assign(sources.size(), {});
  std::vector<uint64_t> labels;
  std::vector<Columns::Source> columns;
  for (size_t s = 0; s < sources.size(); ++s) {
    const FieldSegment& source = *sources[s];
    std::vector<uint32_t>& map = (*maps)[s];
    map.resize(source.size());
    for (uint32_t slot = 0; slot < source.size(); ++slot) {
      if ((dead[s][slot / 64] >> (slot % 64) & 1) != 0) {
        map[slot] = Columns::kGone;
        continue;
      }
      map[slot] = static_cast<uint32_t>(labels.size());
      labels.push_back(source.label(slot));
    }
    columns.push_back({&source.columns(), map});
  }
  if (labels.empty()) return nullptr;
  const auto rows = static_cast<uint32_t>(labels.size());
  return std::shared_ptr<const FieldSegment>(new FieldSegment(
      std::move(labels), Columns::Merge(columns, rows), MergePostings(sources, *maps, rows)));
}

absl::Status FieldSegment::Save(const std::string& path) const {
  if (path.empty()) return absl::OkStatus();
  index::SegmentFileWriter writer(path, kType);
  absl::Status status =
      writer.AddSection("labels", labels_.data(), labels_.size() * sizeof(uint64_t));
  const std::string columns = columns_->Serialize();
  if (status.ok()) status = writer.AddSection("columns", columns.data(), columns.size());
  const std::string_view postings = postings_ == nullptr ? "" : postings_->data();
  if (status.ok()) status = writer.AddSection("postings", postings.data(), postings.size());
  if (!status.ok()) return status;
  return writer.Commit().status();
}

absl::StatusOr<std::shared_ptr<const FieldSegment>> FieldSegment::Load(const std::string& path) {
  auto file = index::SegmentFile::Open(path, kType, index::SegmentFile::Verify::kAll);
  if (!file.ok()) return file.status();
  const auto damaged = [&](std::string_view what) {
    return absl::DataLossError(
        absl::StrCat("file ", path, ": ", absl::string_view(what.data(), what.size())));
  };
  const auto label_bytes = (*file)->Section("labels");
  if (!label_bytes.ok()) return label_bytes.status();
  const auto column_bytes = (*file)->Section("columns");
  if (!column_bytes.ok()) return column_bytes.status();
  const auto rows = label_bytes->size() / sizeof(uint64_t);
  if (rows == 0 || rows > UINT32_MAX || label_bytes->size() % sizeof(uint64_t) != 0) {
    return damaged("the labels are not whole");
  }
  const auto* const first = reinterpret_cast<const uint64_t*>(label_bytes->data());
  std::vector<uint64_t> labels(first, first + rows);
  if (!std::is_sorted(labels.begin(), labels.end(), std::less_equal<>()))
    return damaged("the labels do not ascend");
  auto columns =
      Columns::Parse({reinterpret_cast<const char*>(column_bytes->data()), column_bytes->size()});
  if (!columns.ok()) return damaged(std::string(columns.status().message()));
  if ((*columns)->slots() != rows) return damaged("labels and columns do not agree");
  const auto posting_bytes = (*file)->Section("postings");
  if (!posting_bytes.ok()) return posting_bytes.status();
  std::shared_ptr<const Postings> postings;
  if (!posting_bytes->empty()) {
    auto parsed = Postings::Parse(
        *file, {reinterpret_cast<const char*>(posting_bytes->data()), posting_bytes->size()},
        [] { return absl::OkStatus(); });
    if (absl::IsFailedPrecondition(parsed.status())) {
      return absl::FailedPreconditionError(
          absl::StrCat("file ", path, ": ", parsed.status().message()));
    }
    if (!parsed.ok()) return damaged(std::string(parsed.status().message()));
    if ((*parsed)->document_count() != rows) return damaged("labels and postings do not agree");
    postings = *std::move(parsed);
  }
  return std::shared_ptr<const FieldSegment>(
      new FieldSegment(std::move(labels), *std::move(columns), std::move(postings)));
}

uint32_t FieldSegment::FindSlot(uint64_t label) const {
  const auto at = std::lower_bound(labels_.begin(), labels_.end(), label);
  return at == labels_.end() || *at != label ? Columns::kGone
                                             : static_cast<uint32_t>(at - labels_.begin());
}

int64_t FieldSegment::bytes() const {
  return static_cast<int64_t>(labels_.size() * sizeof(uint64_t)) + columns_->bytes() +
         (postings_ == nullptr ? 0 : postings_->bytes());
}

}  // namespace vecino::fields
