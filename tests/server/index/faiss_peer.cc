// Exports small indexes of every kind beside what our own search of them answers, for
// tests/integration/faiss_peer_test.py to compare with stock FAISS. Usage: faiss_peer FOLDER
//
// For each NAME that it prints, FOLDER gets NAME.faiss, NAME.labels (u64 by FAISS id),
// NAME.queries (f32, queries × dimension), NAME.found (u64 labels, queries × k) and NAME.scores
// (f32, queries × k).
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "server/index/faiss_export.h"
#include "server/index/faiss_segment.h"
#include "server/index/flat_segment.h"
#include "server/index/ivf_segment.h"
#include "server/index/shard_index.h"
#include "tests/server/index/faiss_rows.h"

namespace vecino::index {
namespace {

constexpr int kRows = 4000;
constexpr int kDimension = 32;
constexpr int kQueries = 100;
constexpr int kK = 10;

const auto kGoOn = [] { return absl::OkStatus(); };

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

template <typename T>
void Save(const std::string& path, const std::vector<T>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
}

std::shared_ptr<const Segment> Build(const FrozenRows& rows, const ExportOptions& options) {
  if (options.spec.kind == IndexKind::kFlat) {
    FlatSegmentBuilder builder(options.metric, options.dimension);
    Check(rows.ForEachLive(
        [&](uint64_t label, const float* row) { return builder.Add(label, row); }));
    return Value(builder.Build());
  }
  if (options.spec.kind != IndexKind::kAuto) {
    return Value(FaissSegment::Build(rows, options.metric, options.dimension, options.unit,
                                     options.spec, "", kGoOn));
  }
  std::vector<float> sample;
  Check(rows.ForEachLive([&](uint64_t, const float* row) {
    sample.insert(sample.end(), row, row + kDimension);
    return absl::OkStatus();
  }));
  const std::shared_ptr<const Generation> generation =
      Value(Generation::Train(options.metric, options.unit, kDimension, sample.data(),
                              sample.size() / kDimension, {.id = 1}, kGoOn));
  return Value(IvfSegment::Build(rows, generation, "", kGoOn));
}

void Make(const std::string& folder, const std::string& name, const ExportOptions& options) {
  const std::vector<float> rows = ClusteredRows(kRows + kQueries, kDimension, options.unit);
  ShardIndex index(
      {.metric = options.metric, .dimension = options.dimension, .tail_capacity = kRows});
  for (int i = 0; i < kRows; ++i) index.Add(LabelOf(i), &rows[i * kDimension]);
  index.FreezeTail();
  auto frozen = *index.FreezeForDrain(1);
  auto segment = Build(frozen, options);
  Check(index.Publish(std::move(frozen), std::move(segment)));
  // With dead rows the links of an HNSW would be made anew.
  for (int i = 0; options.spec.kind != IndexKind::kHnsw && i < kRows; i += 9) {
    index.Remove(LabelOf(i));
  }
  const std::string path = folder + "/" + name;
  const ExportedIndex exported =
      Value(ExportFaiss(ExportRows(index.Pin()), options, path + ".faiss", kGoOn));
  std::vector<uint64_t> found;
  std::vector<float> scores;
  for (int i = kRows; i < kRows + kQueries; ++i) {
    for (const Hit& hit :
         Value(Search(*index.Pin(), options.metric, &rows[i * kDimension], {.k = kK}, kGoOn))) {
      found.push_back(hit.label);
      scores.push_back(hit.score);
    }
  }
  Save(path + ".labels", exported.labels);
  Save(path + ".queries", std::vector<float>(rows.begin() + kRows * kDimension, rows.end()));
  Save(path + ".found", found);
  Save(path + ".scores", scores);
  std::printf("%s\t%s\n", name.c_str(), exported.description.c_str());
}

}  // namespace
}  // namespace vecino::index

int main(int argc, char** argv) {
  using namespace vecino::index;
  if (argc != 2) {
    std::fprintf(stderr, "usage: faiss_peer FOLDER\n");
    return 2;
  }
  for (const IndexKind kind :
       {IndexKind::kAuto, IndexKind::kFlat, IndexKind::kIvfFlat, IndexKind::kIvfSq8,
        IndexKind::kIvfPq, IndexKind::kHnsw, IndexKind::kLsh}) {
    ExportOptions options = {.dimension = kDimension, .spec = {.kind = kind}};
    const std::string name(IndexKindName(kind));
    Make(argv[1], name + "_ip", options);
    options.metric = Metric::kL2;
    Make(argv[1], name + "_l2", options);
    options = {.dimension = kDimension, .unit = true, .spec = {.kind = kind}};
    Make(argv[1], name + "_unit", options);
  }
}
