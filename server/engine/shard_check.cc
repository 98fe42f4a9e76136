#include "server/engine/shard_check.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/manifest.h"
#include "server/index/segment_file.h"
#include "server/index/view.h"

namespace vecino::engine {
namespace {

constexpr char kRebuild[] =
    "index files are a cache: compact the shard (`vecino collection retrain`), or stop the server, "
    "delete its folder under index/ and start it; the index is made again from stored vectors";
// Documents that looked missing and are looked at again; more than these are counted only.
constexpr size_t kMaxSuspects = 10'000;
// What waits for appends at most; they take milliseconds.
constexpr absl::Duration kPatience = absl::Seconds(30);

// Whether the view has a live row with this label.
bool Holds(const index::View& view, uint64_t label) {
  for (const index::SegmentRows& rows : view.segments) {
    if (label > rows.segment->last_label()) continue;
    const int64_t slot = rows.segment->FindSlot(label);
    if (slot >= 0) return !rows.dead->IsDead(slot);
  }
  const auto in_tail = [&](const index::Tail& tail) {
    const int slot = tail.FindSlot(label);
    return slot >= 0 && !tail.tombstones().IsDead(slot);
  };
  for (const auto& tail : view.frozen) {
    if (in_tail(*tail)) return true;
  }
  for (const index::Tail* tail = view.tail.get(); tail != nullptr; tail = tail->next()) {
    if (in_tail(*tail)) return true;
  }
  return false;
}

uint64_t LiveRows(const index::View& view) {
  int64_t live = 0;
  for (const index::SegmentRows& rows : view.segments) {
    live += rows.segment->size() - rows.dead->dead();
  }
  for (const auto& tail : view.frozen) live += tail->size() - tail->dead();
  for (const index::Tail* tail = view.tail.get(); tail != nullptr; tail = tail->next()) {
    live += tail->size() - tail->dead();
  }
  return static_cast<uint64_t>(live);
}

using NamedFiles = std::vector<std::pair<std::string, std::string_view>>;

// The files that a manifest names, with the types they must have.
NamedFiles FilesOf(const Manifest& manifest, const ShardFiles& files) {
  NamedFiles all;
  const auto generation = [&](uint64_t number) {
    const std::string path = files.Generation(number);
    const bool known =
        std::any_of(all.begin(), all.end(), [&](const auto& file) { return file.first == path; });
    if (number != 0 && !known) all.push_back({path, "generation"});
  };
  for (const Manifest::Segment& segment : manifest.segments) {
    generation(segment.generation);
    if (segment.file != 0) {
      all.push_back({files.Segment(segment.file),
                     segment.kind == index::SegmentKind::kIvf ? "ivf" : "faiss"});
    }
    if (segment.graph != 0) all.push_back({files.Graph(segment.graph), "graph"});
  }
  generation(manifest.generation);
  for (const Manifest::Fields& fields : manifest.fields) {
    all.push_back({files.Fields(fields.file), "fields"});
  }
  return all;
}

absl::Status CheckFiles(const Shard& shard, const std::string& where,
                        const storage::IntegritySink& sink) {
  if (shard.files().in_memory()) return absl::OkStatus();
  const auto read = [&]() -> absl::StatusOr<Manifest> {
    const auto bytes = shard.log().GetManifest();
    if (!bytes.ok()) return bytes.status();
    if (bytes->empty()) return Manifest();
    return DecodeManifest(*bytes, shard.labels());
  };
  const absl::StatusOr<Manifest> manifest = read();
  if (!manifest.ok()) {
    sink.found(
        {where + ", manifest of the index", std::string(manifest.status().message()), kRebuild});
    return absl::OkStatus();
  }
  for (const auto& [path, type] : FilesOf(*manifest, shard.files())) {
    const auto file = index::SegmentFile::Open(path, type, index::SegmentFile::Verify::kOnly);
    if (!file.ok()) {
      // One that maintenance has replaced meanwhile may be gone.
      const absl::StatusOr<Manifest> now = read();
      const NamedFiles files = now.ok() ? FilesOf(*now, shard.files()) : NamedFiles();
      const bool named =
          std::find(files.begin(), files.end(), std::pair(path, type)) != files.end();
      if (named) sink.found({path, std::string(file.status().message()), kRebuild});
    }
    absl::Status told = sink.progress(0, file.ok() ? static_cast<uint64_t>((*file)->bytes()) : 0);
    if (!told.ok()) return told;
  }
  return absl::OkStatus();
}

// A document that the pinned view seemed to lack.
struct Suspect {
  std::string id;
  uint64_t sequence = 0, vectors = 0;
};

}  // namespace

absl::Status CheckShard(const storage::Store& store, const Shard& shard, uint32_t uid,
                        const storage::IntegritySink& sink) {
  const std::string where = absl::StrCat("shard ", shard.number());
  const LabelScheme labels = shard.labels();
  std::shared_ptr<const index::View> view;  // pinned behind the moment that is read
  std::vector<Suspect> suspects;
  uint64_t expected = 0, more = 0;
  const auto missing = [&](const index::View& in, uint64_t sequence, uint64_t vectors) {
    for (uint64_t passage = 0; passage < vectors; ++passage) {
      if (!Holds(in, labels.ToLabel(sequence, passage))) return true;
    }
    return false;
  };
  const uint64_t before = shard.log().LastSequence();
  storage::IntegritySink rows = sink;
  rows.document = [&](std::string_view id, uint64_t sequence, uint64_t vectors) {
    if (view == nullptr) view = shard.Pin().view;
    expected += vectors;
    if (!missing(*view, sequence, vectors)) return;
    if (suspects.size() < kMaxSuspects) {
      suspects.push_back({std::string(id), sequence, vectors});
    } else {
      ++more;
    }
  };
  if (absl::Status status = store.CheckShard(uid, static_cast<uint32_t>(shard.number()), rows);
      !status.ok()) {
    return status;
  }
  // What was written or drained meanwhile looked the same as what is missing.
  CallContext patience;
  patience.deadline = absl::Now() + kPatience;
  shard.WaitForAppends(patience).IgnoreError();
  view = shard.Pin().view;
  for (const Suspect& suspect : suspects) {
    if (!missing(*view, suspect.sequence, suspect.vectors)) continue;
    const std::string_view id = suspect.id;
    const auto entry = shard.log().FindIds({&id, 1});
    if (!entry.ok() || !(*entry)[0].has_value() || (*entry)[0]->sequence != suspect.sequence) {
      continue;  // replaced or deleted meanwhile; damage was told of by the store
    }
    sink.found({absl::StrCat(where, ", document `", absl::CHexEscape(suspect.id), "`"),
                "the index lacks its vector, so searches do not find it", kRebuild});
  }
  if (more > 0) {
    sink.found(
        {where, absl::StrCat(more, " more documents seem to be missing in the index"), kRebuild});
  }
  const uint64_t indexed = LiveRows(*view);
  if (before == shard.log().LastSequence() && indexed > expected) {
    sink.found({where,
                absl::StrCat("the index has ", indexed, " live rows, of ", expected,
                             " vectors that are stored"),
                kRebuild});
  }
  return CheckFiles(shard, where, sink);
}

}  // namespace vecino::engine
