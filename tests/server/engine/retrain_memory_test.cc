// The memory that a retrain takes, counted at every allocation, beside what was predicted.
// VECINO_MEMORY_ROWS=1000000 adds a case of so many rows of 384 dimensions: takes minutes.
#include <malloc.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "absl/strings/numbers.h"
#include "server/engine/operation_estimate.h"
#include "tests/server/engine/retrain_fixture.h"
#include "tests/server/engine/test_support.h"

namespace {

std::atomic<int64_t> in_use{0}, peak{0};

void* Allocate(size_t bytes, size_t alignment) {
  void* const at =
      alignment > 0 ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                    : std::malloc(bytes);
  if (at == nullptr) throw std::bad_alloc();
  const auto size = static_cast<int64_t>(malloc_usable_size(at));
  const int64_t now = in_use.fetch_add(size) + size;
  for (int64_t most = peak.load(); now > most && !peak.compare_exchange_weak(most, now);) {
  }
  return at;
}

void Free(void* at) {
  if (at == nullptr) return;
  in_use.fetch_sub(static_cast<int64_t>(malloc_usable_size(at)));
  std::free(at);
}

}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes, 0); }
void* operator new[](size_t bytes) { return Allocate(bytes, 0); }
void* operator new(size_t bytes, std::align_val_t a) { return Allocate(bytes, size_t(a)); }
void* operator new[](size_t bytes, std::align_val_t a) { return Allocate(bytes, size_t(a)); }
void operator delete(void* at) noexcept { Free(at); }
void operator delete[](void* at) noexcept { Free(at); }
void operator delete(void* at, size_t) noexcept { Free(at); }
void operator delete[](void* at, size_t) noexcept { Free(at); }
void operator delete(void* at, std::align_val_t) noexcept { Free(at); }
void operator delete[](void* at, std::align_val_t) noexcept { Free(at); }
void operator delete(void* at, size_t, std::align_val_t) noexcept { Free(at); }
void operator delete[](void* at, size_t, std::align_val_t) noexcept { Free(at); }

namespace vecino::engine {
namespace {

struct Case {
  int rows, dimension, threads;
};

class RetrainMemoryTest : public testing::TestWithParam<Case> {};

// What is mapped from index files is no allocation: the new index, without its floats, which the
// kernel may drop, counts from when its file is whole.
TEST_P(RetrainMemoryTest, IsAsPredicted) {
  const Case& is = GetParam();
  ASSERT_GE(is.rows, 10'000) << "VECINO_MEMORY_ROWS is no number from 10,000 on";
  const std::string folder = testing::TempDir() + "/retrain_memory_" + std::to_string(getpid());
  std::filesystem::remove_all(folder);
  MemoryStore store;
  FakeMetrics fake_metrics;
  EngineMetrics metrics(&fake_metrics);
  ShardOptions options;
  options.collection = "c";
  options.metric = index::Metric::kL2;
  options.dimension = is.dimension;
  options.folder = folder;
  options.build_threads = is.threads;
  options.index.graph = false;
  options.maintenance.max_growth = 1e9;
  options.maintenance.exact_rows = 5'000;  // a drain has more: the rows behind it count later
  OpenGate(&options.maintenance);
  std::string stage;
  int64_t base = 0;
  std::map<std::string, int64_t> peaks;  // by stage, above what was there before
  options.hooks.at = [&](std::string_view now) {
    if (now == stage) return;
    if (!stage.empty()) peaks[stage] = std::max(peaks[stage], peak.load() - base);
    if (stage.empty()) base = in_use.load();
    stage = std::string(now);
    peak = in_use.load();
  };
  auto shard =
      *Shard::Load(options, *store.OpenShard(1, 0, static_cast<uint32_t>(is.dimension)), &metrics);
  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<ShardWrite> writes(500);
  for (int id = 0; id < is.rows;) {
    for (ShardWrite& write : writes) {
      write = {};
      std::minstd_rand centre(static_cast<uint32_t>(id % 1000 + 1));
      std::uniform_real_distribution<float> place(-3, 3);
      write.document.id = std::to_string(id++);
      write.document.vector.resize(static_cast<size_t>(is.dimension));
      for (float& x : write.document.vector) x = place(centre) + normal(rng);
    }
    shard->Write(absl::MakeSpan(writes), {});
  }
  while (shard->Maintain({})->worked) {
  }
  ASSERT_GT(shard->Stats().generation, 0u);

  const std::vector<ShardStats> stats = {shard->Stats()};
  const OperationEstimate estimate =
      EstimateOperation(Operation::Type::kRetrain, options.index, is.dimension, /*chunked=*/false,
                        stats, is.threads, {});
  stage.clear();
  peaks.clear();
  auto operation =
      std::make_shared<Operation>("o", "c", Operation::Type::kRetrain, std::vector<int>{0});
  shard->Request(operation);
  while (shard->Maintain({})->worked) {
  }
  ASSERT_EQ(operation->Snapshot().parts[0].stage, "published")
      << operation->Snapshot().parts[0].outcome.reason;
  const ShardStats after = shard->Stats();
  const int64_t index = after.segment_bytes - after.vector_bytes;
  int64_t measured = 0;
  for (auto& [name, bytes] : peaks) {
    const bool built = name == "calibrating" || name == "validating";
    const int64_t total = bytes + (built ? index : 0);
    std::printf("  %-12s %8.2f MiB allocated, %8.2f with the index\n", name.c_str(),
                static_cast<double>(bytes) / (1 << 20), static_cast<double>(total) / (1 << 20));
    measured = std::max(measured, total);
  }
  std::printf(
      "  %d rows of %d dimensions, %d threads: peak %.2f MiB measured, %.2f predicted, "
      "ratio %.3f; index %.2f, %.2f predicted\n",
      is.rows, is.dimension, is.threads, static_cast<double>(measured) / (1 << 20),
      static_cast<double>(estimate.peak_bytes) / (1 << 20),
      static_cast<double>(estimate.peak_bytes) / static_cast<double>(measured),
      static_cast<double>(index) / (1 << 20),
      static_cast<double>(estimate.index_bytes) / (1 << 20));
  EXPECT_NEAR(static_cast<double>(estimate.peak_bytes), static_cast<double>(measured),
              0.15 * static_cast<double>(measured));
  EXPECT_NEAR(static_cast<double>(estimate.index_bytes), static_cast<double>(index),
              0.15 * static_cast<double>(index));
  shard.reset();
  std::filesystem::remove_all(folder);
}

std::vector<Case> Cases() {
  std::vector<Case> cases = {{40'000, 384, 1}, {40'000, 384, 2}, {80'000, 64, 1}, {15'000, 768, 2}};
  if (const char* const text = std::getenv("VECINO_MEMORY_ROWS"); text != nullptr) {
    int rows = 0;
    cases.push_back({absl::SimpleAtoi(text, &rows) && rows > 0 ? rows : 0, 384, 2});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Sizes, RetrainMemoryTest, testing::ValuesIn(Cases()),
                         [](const auto& info) {
                           return absl::StrCat("Case", info.index, "of", info.param.rows, "x",
                                               info.param.dimension, "by", info.param.threads);
                         });

}  // namespace
}  // namespace vecino::engine
