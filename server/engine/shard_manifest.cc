// What a shard writes down for its next start, and which files may go.
#include <algorithm>
#include <set>
#include <utility>

#include "server/engine/shard.h"
#include "server/index/ivf_segment.h"

namespace vecino::engine {

uint64_t Shard::DrainedThrough() const {
  const LabelScheme labels = options_.labels;
  return labels.WholeThrough(index_.DrainedThrough(labels.Last(applied_.load())));
}

Manifest Shard::MakeManifest() const {
  Manifest manifest;
  manifest.drained_through = DrainedThrough();
  manifest.next_file = files_.next();
  manifest.generation = generation_ == nullptr ? 0 : generation_->id();
  const std::shared_ptr<const index::View> view = index_.Pin();
  for (const index::SegmentRows& rows : view->segments) {
    Manifest::Segment record;
    record.kind = rows.segment->kind();
    record.first_label = rows.segment->first_label();
    record.last_label = rows.segment->last_label();
    record.rows = static_cast<uint64_t>(rows.segment->size());
    if (const index::IvfSegment* ivf = index::AsIvf(*rows.segment); ivf != nullptr) {
      record.generation = ivf->generation()->id();
    }
    if (const auto place = places_.find(rows.segment.get()); place != places_.end()) {
      record.file = place->second.file;
      record.graph = place->second.graph_file;
    }
    if (rows.dead->dead() > 0) record.dead = rows.dead->Snapshot();
    manifest.rows += static_cast<uint64_t>(rows.segment->size() - rows.dead->dead());
    manifest.segments.push_back(std::move(record));
  }
  if (files_.in_memory()) return manifest;
  manifest.fields_through = std::min(fields_.SavedThrough(), applied_.load());
  for (const fields::FieldPart& part : fields_.Pin()->parts) {
    if (part.file == 0 || part.segment->label(0) > manifest.fields_through) break;
    Manifest::Fields record;
    record.file = part.file;
    record.first_label = part.segment->label(0);
    record.last_label = part.segment->label(part.segment->size() - 1);
    record.rows = part.segment->size();
    if (part.dead->dead() > 0) record.dead = part.dead->Snapshot();
    manifest.fields.push_back(std::move(record));
  }
  return manifest;
}

std::set<std::string> Shard::NamedFiles(const Manifest& manifest) const {
  std::set<std::string> files;
  if (files_.in_memory()) return files;
  if (manifest.generation != 0) files.insert(files_.Generation(manifest.generation));
  for (const Manifest::Segment& segment : manifest.segments) {
    if (segment.file != 0) files.insert(files_.Segment(segment.file));
    if (segment.graph != 0) files.insert(files_.Graph(segment.graph));
    if (segment.generation != 0) files.insert(files_.Generation(segment.generation));
  }
  for (const Manifest::Fields& fields : manifest.fields) files.insert(files_.Fields(fields.file));
  return files;
}

absl::Status Shard::SaveManifest(bool files) {
  Manifest manifest;
  {
    absl::MutexLock lock(&index_mu_);
    // A tail's worth at a time: the sync to disk holds writers up.
    const auto tail = static_cast<uint64_t>(index_.options().tail_capacity);
    files = files || files_unsaved_;
    files_unsaved_ = files;
    const uint64_t drained = DrainedThrough();
    if (!files && drained < saved_through_.load() + tail) return absl::OkStatus();
  }
  while (true) {
    if (!files_.in_memory()) {
      const absl::StatusOr<bool> saved = SaveFields();
      if (!saved.ok()) return saved.status();
      files = files || *saved;
      files_unsaved_ = files;
    }
    Swiftly([&] {
      absl::MutexLock lock(&index_mu_);
      manifest = MakeManifest();
    });
    // Usually so: what was written since is in a tail. Otherwise it must be saved, too, since the
    // log is trimmed behind it.
    if (files_.in_memory() || manifest.fields_through >= manifest.drained_through) break;
  }
  absl::Status status = queue_.Exclusive(
      [&]() -> absl::Status {
        absl::Status put = log_->PutManifest(EncodeManifest(manifest));
        if (!put.ok()) return put;
        saved_through_.store(manifest.drained_through);
        // Only now: until the manifest is durable, a start needs these records.
        return log_->TrimChanges(std::min(manifest.drained_through, hold_.load()));
      },
      absl::InfiniteFuture());
  if (!status.ok() || !files) return status;
  files_unsaved_ = false;
  // D5: only now.
  std::set<std::string> named = NamedFiles(manifest);
  for (const std::string& file : saved_files_) {
    if (!named.contains(file)) files_.Delete(file);
  }
  saved_files_ = std::move(named);
  return absl::OkStatus();
}

}  // namespace vecino::engine
