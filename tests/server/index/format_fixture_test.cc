// Index files that an earlier program wrote, opened by this one: data/format1 holds a file of every
// type and what must be read out of it. data/format1/README.md tells how they were made.
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/index/faiss_segment.h"
#include "server/index/segment_file_format.h"
#include "server/index/shard_index.h"
#include "server/index/training.h"

namespace vecino::index {
namespace {

namespace fs = std::filesystem;

constexpr int kD = 8;

struct Fixture {
  const char* name;
  IndexKind kind;
  Metric metric;
  bool graph;
  int rows;  // enough for a graph to be walked rather than all rows compared
};
constexpr Fixture kFixtures[] = {
    {"ivf_l2", IndexKind::kAuto, Metric::kL2, true, 240},
    {"ivf_dot", IndexKind::kAuto, Metric::kInnerProduct, false, 120},
    {"faiss_ivf_flat", IndexKind::kIvfFlat, Metric::kL2, false, 120},
    {"faiss_ivf_sq8", IndexKind::kIvfSq8, Metric::kInnerProduct, false, 120},
    {"faiss_ivf_pq", IndexKind::kIvfPq, Metric::kL2, false, 120},
    {"faiss_hnsw", IndexKind::kHnsw, Metric::kInnerProduct, false, 120},
    {"faiss_lsh", IndexKind::kLsh, Metric::kL2, false, 120},
};

absl::Status GoOn() { return absl::OkStatus(); }

uint64_t LabelOf(int row) { return 100 + 3 * static_cast<uint64_t>(row); }

// Numbers that every machine makes alike: sixty-fourths.
std::vector<float> RowOf(uint64_t label) {
  std::vector<float> row;
  for (uint64_t j = 0; j < kD; ++j) {
    uint64_t x = (label * 1000 + j) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    const auto noise = static_cast<int>((x >> 40) % 65) - 32;
    const auto centre = static_cast<int>((label / 3 % 3 + j) % 4) * 48;
    row.push_back(static_cast<float>(noise + centre) / 64);
  }
  return row;
}

// What a fixture's files are: `NAME.segment`, and for AUTO's `NAME.generation`, `NAME.graph`.
std::string PathOf(const std::string& folder, const Fixture& fixture, const char* type) {
  return absl::StrCat(folder, "/", fixture.name, ".", type);
}
std::vector<const char*> TypesOf(const Fixture& fixture) {
  if (fixture.kind != IndexKind::kAuto) return {"segment"};
  if (!fixture.graph) return {"segment", "generation"};
  return {"segment", "generation", "graph"};
}

void Write(const Fixture& fixture, const std::string& folder) {
  ShardIndex index({.metric = fixture.metric, .dimension = kD, .tail_capacity = fixture.rows});
  for (int row = 0; row < fixture.rows; ++row) index.Add(LabelOf(row), RowOf(LabelOf(row)).data());
  index.FreezeTail();
  const auto rows = index.FreezeForDrain(1);
  const std::string path = PathOf(folder, fixture, "segment");
  if (fixture.kind != IndexKind::kAuto) {
    IndexSpec spec;
    spec.kind = fixture.kind;
    if (fixture.kind == IndexKind::kIvfPq) spec.pq_m = 4, spec.pq_bits = 4;
    if (fixture.kind == IndexKind::kHnsw) spec.hnsw_m = 4, spec.ef_construction = 20;
    if (fixture.kind == IndexKind::kLsh) spec.lsh_bits = 32;
    const auto built =
        FaissSegment::Build(*rows, fixture.metric, kD, /*unit=*/false, spec, path, GoOn);
    ASSERT_TRUE(built.ok()) << built.status();
    return;
  }
  const auto generation =
      TrainGeneration(*rows, fixture.metric, /*unit=*/false, kD, {.id = 7, .nlist = 3}, GoOn);
  ASSERT_TRUE(generation.ok()) << generation.status();
  IvfSegment::Drift drift;
  const auto segment = IvfSegment::Build(*rows, *generation, path, GoOn, &drift);
  ASSERT_TRUE(segment.ok()) << segment.status();
  (*generation)
      ->SetBase(static_cast<float>(drift.squared_distance / fixture.rows),
                static_cast<float>((*segment)->Imbalance()));
  auto calibration = CalibrateIvf({{segment->get()}}, 60, 7, GoOn);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  (*generation)->SetCalibration(*std::move(calibration));
  ASSERT_TRUE((*generation)->Save(PathOf(folder, fixture, "generation")).ok());
  if (!fixture.graph) return;
  const auto graph = BuildGraph(**segment, {.m = 3, .ef_construction = 20}, 60, 7, GoOn);
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_TRUE((*graph)->Save(PathOf(folder, fixture, "graph")).ok());
}

std::string Number(double x) { return absl::StrFormat("%.8g", x); }

std::string Line(const std::vector<Hit>& hits) {
  std::string line;
  for (const Hit& hit : hits) absl::StrAppend(&line, " ", hit.label, " ", Number(hit.score));
  return line;
}

std::string Line(const Calibration& calibration) {
  std::string line = absl::StrCat("k ", calibration.k, " queries ", calibration.queries);
  for (const Calibration::Point& point : calibration.points) {
    absl::StrAppend(&line, " ", point.breadth, " ", Number(point.recall));
  }
  return line;
}

// All that is recorded of a fixture, as lines of words and numbers.
void Read(const Fixture& fixture, const std::string& folder, std::vector<std::string>* facts) {
  const auto tell = [&](const auto&... words) {
    facts->push_back(absl::StrCat(fixture.name, " ", words...));
  };
  const std::string path = PathOf(folder, fixture, "segment");
  std::shared_ptr<const Segment> segment;
  if (fixture.kind == IndexKind::kAuto) {
    const auto generation = Generation::Load(PathOf(folder, fixture, "generation"));
    ASSERT_TRUE(generation.ok()) << generation.status();
    const Generation& g = **generation;
    tell("generation ", g.id(), " lists ", g.nlist(), " trained for ", g.trained_rows(), " at ",
         g.trained_at_us(), " error ", Number(g.base_error()), " imbalance ",
         Number(g.base_imbalance()), " unit ", g.unit() ? 1 : 0);
    tell("calibration ", Line(g.calibration()));
    double sum = 0;
    for (size_t i = 0; i < g.centroids().size(); ++i) {
      sum += static_cast<double>(i + 1) * g.centroids()[i];
    }
    tell("centroids weigh ", Number(sum));
    auto ivf = IvfSegment::Open(path, *generation, SegmentFile::Verify::kAll);
    ASSERT_TRUE(ivf.ok()) << ivf.status();
    segment = *ivf;
    if (fixture.graph) {
      const auto graph =
          Graph::Load(PathOf(folder, fixture, "graph"), (*ivf)->size(), SegmentFile::Verify::kAll);
      ASSERT_TRUE(graph.ok()) << graph.status();
      tell("graph m ", (*graph)->options().m, " ef ", (*graph)->options().ef_construction, " seed ",
           (*graph)->options().seed);
      tell("graph calibration ", Line((*graph)->calibration()));
      const Tombstones none(segment->size());
      for (int q = 0; q < 4; ++q) {
        TopK top(fixture.metric, 3);
        GraphWork work;
        const std::vector<float> query = RowOf(static_cast<uint64_t>(q));
        ASSERT_TRUE((*graph)
                        ->Search((*ivf)->graph_rows(), query.data(), {.k = 3, .ef = 3}, none,
                                 nullptr, &top, &work)
                        .ok());
        EXPECT_FALSE(work.scanned);
        tell("graph query ", q, " expands ", work.expanded, Line(top.Take()));
      }
    }
  } else {
    const auto faiss = FaissSegment::Open(path, SegmentFile::Verify::kAll);
    ASSERT_TRUE(faiss.ok()) << faiss.status();
    tell("calibration ", Line((*faiss)->calibration()));
    segment = *faiss;
  }
  tell("kind ", static_cast<uint32_t>(segment->kind()), " metric ",
       static_cast<uint32_t>(segment->metric()), " dimension ", segment->dimension(), " rows ",
       segment->size());
  std::string labels = "labels";
  for (int64_t slot = 0; slot < segment->size(); ++slot) {
    const uint64_t label = segment->label(slot);
    absl::StrAppend(&labels, " ", label);
    const std::vector<float> row = RowOf(label);
    EXPECT_TRUE(std::equal(row.begin(), row.end(), segment->vector(slot))) << label;
    EXPECT_EQ(segment->FindSlot(label), slot);
    EXPECT_EQ(segment->label(segment->InLabelOrder(slot)), LabelOf(static_cast<int>(slot)));
  }
  tell(labels);
  const Tombstones none(segment->size());
  const struct {
    const char* name;
    SearchParams params;
  } searches[] = {{"exact", {.k = 5, .exact = true}},
                  {"by default", {.k = 5}},
                  {"narrow", {.k = 5, .nprobe = 1, .ef = 6, .rerank = 7}}};
  for (const auto& [name, params] : searches) {
    for (int q = 0; q < 4; ++q) {
      TopK top(fixture.metric, params.k);
      const std::vector<float> query = RowOf(static_cast<uint64_t>(q));
      ASSERT_TRUE(segment->Search(query.data(), params, none, nullptr, &top).ok());
      tell(name, " query ", q, Line(top.Take()));
    }
  }
}

// Names of sections, with their lengths where rows and lists alone determine them.
std::vector<std::string> SectionsOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  segment_file_format::Footer footer;
  EXPECT_GT(bytes.size(), sizeof footer) << path;
  if (bytes.size() <= sizeof footer) return {};
  std::memcpy(&footer, bytes.data() + bytes.size() - sizeof footer, sizeof footer);
  std::vector<std::string> sections;
  for (uint32_t i = 0; i < footer.sections; ++i) {
    segment_file_format::TableEntry entry;
    std::memcpy(&entry, bytes.data() + footer.table_offset + i * sizeof entry, sizeof entry);
    const std::string name(entry.name, strnlen(entry.name, sizeof entry.name));
    const std::set<std::string> vary = {"codes",  "calibration", "index",
                                        "levels", "upper",       "upper_slots"};
    sections.push_back(vary.contains(name) ? name : absl::StrCat(name, " ", entry.length));
  }
  return sections;
}

void Pack(const std::string& from, const std::string& to) {
  std::ifstream file(from, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const gzFile packed = gzopen(to.c_str(), "wb9");
  ASSERT_NE(packed, nullptr) << to;
  EXPECT_EQ(gzwrite(packed, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  EXPECT_EQ(gzclose(packed), Z_OK);
}

void Unpack(const std::string& from, const std::string& to) {
  const gzFile packed = gzopen(from.c_str(), "rb");
  ASSERT_NE(packed, nullptr) << from;
  std::ofstream file(to, std::ios::binary);
  char buffer[4096];
  int n;
  while ((n = gzread(packed, buffer, sizeof buffer)) > 0) file.write(buffer, n);
  EXPECT_EQ(n, 0) << from;
  EXPECT_EQ(gzclose(packed), Z_OK) << from;
}

// The same words, and numbers within 1e-5.
void ExpectSame(const std::string& is, const std::string& recorded) {
  const std::vector<std::string> a = absl::StrSplit(is, ' '), b = absl::StrSplit(recorded, ' ');
  bool same = a.size() == b.size();
  for (size_t i = 0; same && i < a.size(); ++i) {
    double x, y;
    const bool numbers = absl::SimpleAtod(a[i], &x) && absl::SimpleAtod(b[i], &y);
    same = numbers ? std::abs(x - y) <= 1e-5 * std::max(1.0, std::abs(y)) : a[i] == b[i];
  }
  EXPECT_TRUE(same) << "read:     " << is << "\nrecorded: " << recorded;
}

std::string FolderOfVersion(uint32_t version) {
  return absl::StrCat(VECINO_FORMAT_FOLDER "/format", version);
}

class FormatFixtureBase : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(
        testing::TempDir(), "/format_fixture_", getpid(), "_",
        absl::StrReplaceAll(testing::UnitTest::GetInstance()->current_test_info()->name(),
                            {{"/", "_"}}));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string folder_;
};

using FormatFixtureTodayTest = FormatFixtureBase;
class FormatFixtureTest : public FormatFixtureBase, public testing::WithParamInterface<uint32_t> {};

// With VECINO_RECORD_FORMAT set, writes the fixtures to that folder instead.
TEST_P(FormatFixtureTest, FilesOfEveryFormatAreReadAsTheyWereWritten) {
  const char* const record = std::getenv("VECINO_RECORD_FORMAT");
  std::vector<std::string> facts, recorded;
  for (const Fixture& fixture : kFixtures) {
    SCOPED_TRACE(fixture.name);
    if (record != nullptr) Write(fixture, folder_);
    for (const char* const type : TypesOf(fixture)) {
      const std::string path = PathOf(folder_, fixture, type);
      const std::string packed =
          PathOf(record != nullptr ? record : FolderOfVersion(GetParam()), fixture, type) + ".gz";
      record != nullptr ? Pack(path, packed) : Unpack(packed, path);
    }
    if (HasFatalFailure()) return;
    Read(fixture, folder_, &facts);
    if (HasFatalFailure()) return;
  }
  if (record != nullptr) {
    std::ofstream file(absl::StrCat(record, "/expected.txt"));
    for (const std::string& fact : facts) file << fact << "\n";
    GTEST_SKIP() << "recorded in " << record;
  }
  std::ifstream file(FolderOfVersion(GetParam()) + "/expected.txt");
  for (std::string line; std::getline(file, line);) recorded.push_back(line);
  ASSERT_EQ(facts.size(), recorded.size());
  for (size_t i = 0; i < facts.size(); ++i) ExpectSame(facts[i], recorded[i]);
}

INSTANTIATE_TEST_SUITE_P(Versions, FormatFixtureTest,
                         testing::Range<uint32_t>(1, kSegmentFileVersion + 1));

// A change of what is written shows here; then the version must rise, the fixtures of earlier
// versions stay as they are, and new ones come beside them. But for a section that programs from
// before pass over, and whose lack those of today know how to do without: recall_table.
TEST_F(FormatFixtureTodayTest, TheSameSectionsAreWritten) {
  const std::string today = folder_ + "/today";
  fs::create_directories(today);
  for (const Fixture& fixture : kFixtures) {
    SCOPED_TRACE(fixture.name);
    Write(fixture, today);
    for (const char* const type : TypesOf(fixture)) {
      const std::string path = PathOf(folder_, fixture, type);
      Unpack(PathOf(FolderOfVersion(kSegmentFileVersion), fixture, type) + ".gz", path);
      if (HasFatalFailure()) return;
      auto sections = SectionsOf(PathOf(today, fixture, type));
      std::erase_if(sections, [](const auto& name) { return name.starts_with("recall_table "); });
      EXPECT_EQ(sections, SectionsOf(path)) << type;
    }
  }
}

}  // namespace
}  // namespace vecino::index
