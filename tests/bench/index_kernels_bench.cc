// The index' kernels by themselves, at each level that this CPU runs: d = 384, m = 96.
// items_per_second turned round is the time a row.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "server/index/cpu.h"
#include "server/index/int8_rows.h"
#include "server/index/pq_scan.h"
#include "server/index/select.h"

namespace vecino::index {
namespace {

constexpr size_t kD = 384, kM = 96;
constexpr size_t kListRows = 150, kListBlocks = (kListRows + kPqBlockRows - 1) / kPqBlockRows;
constexpr size_t kManyRows = 300'000;

std::mt19937& Rng() {
  static auto* const rng = new std::mt19937(1);
  return *rng;
}

std::vector<float> RandomFloats(size_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> floats(n);
  for (float& x : floats) x = normal(Rng());
  return floats;
}

// Bytes that start at a cache line, as segments keep theirs.
class Aligned {
 public:
  explicit Aligned(size_t n) : bytes_(n + 63) {}
  uint8_t* data() { return bytes_.data() + (0 - reinterpret_cast<uintptr_t>(bytes_.data())) % 64; }
  const uint8_t* data() const { return const_cast<Aligned*>(this)->data(); }
  size_t size() const { return bytes_.size() - 63; }

 private:
  std::vector<uint8_t> bytes_;
};

// Lists of 150 rows one after the other, and a query's tables.
struct PqLists {
  explicit PqLists(size_t lists)
      : blocks(lists * kListBlocks * PqBlockBytes(kM)),
        tables(PqTableBytes(kM)),
        live(kListBlocks, 0xffff) {
    for (size_t i = 0; i < blocks.size(); ++i) blocks.data()[i] = static_cast<uint8_t>(Rng()());
    for (size_t i = 0; i < tables.size(); ++i) {
      tables.data()[i] = static_cast<uint8_t>(1 + Rng()() % 255);
    }
    live.back() = static_cast<uint16_t>((1u << kListRows % kPqBlockRows) - 1);
  }
  const uint8_t* list(size_t i) const { return blocks.data() + i * kListBlocks * PqBlockBytes(kM); }

  Aligned blocks, tables;
  std::vector<uint16_t> live;
};

// Scans `order`'s lists into a reservoir of 200, as a search does.
size_t ScanLists(const PqLists& lists, const std::vector<uint32_t>& order, size_t begin, size_t end,
                 Reservoir* reservoir, CpuLevel level) {
  reservoir->Reset(200);
  for (size_t i = begin; i < end; ++i) {
    if (i + 1 < end) PqPrefetch(lists.list(order[i + 1]), kM, kListBlocks);
    reservoir->Added(PqScan(lists.list(order[i]), kListBlocks, kM, lists.tables.data(),
                            lists.live.data(), reservoir->threshold(),
                            static_cast<uint32_t>(order[i] * 1000), reservoir->room(), level));
  }
  return reservoir->Finish();
}

std::vector<uint32_t> Shuffled(size_t n) {
  std::vector<uint32_t> order(n);
  for (uint32_t i = 0; i < n; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), Rng());
  return order;
}

void PqOneListHot(benchmark::State& state, CpuLevel level) {
  const PqLists lists(1);
  std::vector<PqCandidate> out(kListBlocks * kPqBlockRows);
  for (auto _ : state) {
    benchmark::DoNotOptimize(PqScan(lists.list(0), kListBlocks, kM, lists.tables.data(),
                                    lists.live.data(), 14'000, 0, out.data(), level));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kListRows));
}

// 94 lists (14,100 rows, .7 MB), the same each time or others out of 300,000 rows.
void PqScanLists(benchmark::State& state, CpuLevel level, size_t lists_in_all) {
  constexpr size_t kLists = 94;
  const PqLists lists(lists_in_all);
  const std::vector<uint32_t> order = Shuffled(lists_in_all);
  Reservoir reservoir;
  size_t begin = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(ScanLists(lists, order, begin, begin + kLists, &reservoir, level));
    begin += kLists;
    if (begin + kLists > lists_in_all) begin = 0;
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kLists * kListRows));
}

struct Rows {
  explicit Rows(size_t n) : codes(n * Int8Stride(kD)), scales(n, 0.01f) {
    for (size_t i = 0; i < codes.size(); ++i) {
      codes.data()[i] = static_cast<uint8_t>(1 + Rng()() % 255);
    }
    rows = {Metric::kInnerProduct, kD, codes.data(), scales.data(), nullptr};
  }
  Aligned codes;
  std::vector<float> scales;
  Int8Rows rows;
};

void Range(benchmark::State& state, CpuLevel level, size_t n) {
  const Rows rows(n);
  const Int8Query query(RandomFloats(kD).data(), kD);
  std::vector<float> scores(n);
  for (auto _ : state) {
    ScoreRange(rows.rows, query, 0, n, scores.data(), level);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(n));
}

void Slots(benchmark::State& state, CpuLevel level) {
  constexpr size_t kSlots = 200;
  static const auto* const rows = new Rows(kManyRows);
  static const auto* const slots = new std::vector<uint32_t>(Shuffled(kManyRows));
  const Int8Query query(RandomFloats(kD).data(), kD);
  std::vector<float> scores(kSlots);
  size_t begin = 0;
  for (auto _ : state) {
    ScoreSlots(rows->rows, query, &(*slots)[begin], kSlots, scores.data(), level);
    benchmark::ClobberMemory();
    begin = (begin + kSlots) % kManyRows;
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kSlots));
}

void Select(benchmark::State& state, CpuLevel level, size_t count, size_t n) {
  const std::vector<float> scores = RandomFloats(n * 64);  // others each time
  std::vector<uint32_t> out;
  size_t i = 0;
  for (auto _ : state) {
    SelectBest(&scores[i++ % 64 * n], n, count, true, &out, level);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(n));
}

// 14,000 rows offered list by list, 200 kept, without looking codes up.
void KeepInReservoir(benchmark::State& state) {
  constexpr size_t kRows = 14'000;
  std::normal_distribution<float> normal(12'000, 1'000);
  std::vector<PqCandidate> rows(kRows);
  for (uint32_t i = 0; i < kRows; ++i) rows[i] = {static_cast<uint32_t>(normal(Rng())), i};
  Reservoir reservoir;
  for (auto _ : state) {
    reservoir.Reset(200);
    for (size_t begin = 0; begin < kRows; begin += kListRows) {
      size_t added = 0;
      PqCandidate* room = reservoir.room();
      for (size_t i = begin; i < std::min(kRows, begin + kListRows); ++i) {
        room[added] = rows[i];
        added += rows[i].sum > reservoir.threshold();
      }
      reservoir.Added(added);
    }
    benchmark::DoNotOptimize(reservoir.Finish());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kRows));
}

void QuantizeQuery(benchmark::State& state) {
  const std::vector<float> floats = RandomFloats(kD);
  Int8Query query;
  for (auto _ : state) {
    query.Assign(floats.data(), kD);
    benchmark::DoNotOptimize(query.codes());
  }
  state.SetItemsProcessed(state.iterations());
}

void QuantizeOneRow(benchmark::State& state) {
  const std::vector<float> floats = RandomFloats(kD);
  std::vector<uint8_t> codes(Int8Stride(kD));
  for (auto _ : state) {
    const float scale = QuantizeRow(floats.data(), kD, codes.data());
    benchmark::DoNotOptimize(RowError(floats.data(), kD, codes.data(), scale));
  }
  state.SetItemsProcessed(state.iterations());
}

void Register() {
  for (CpuLevel level : SupportedCpuLevels()) {
    const auto add = [&](const std::string& name, std::function<void(benchmark::State&)> run) {
      benchmark::RegisterBenchmark((name + "/" + std::string(CpuLevelName(level))).c_str(), run);
    };
    add("PqScan 150 rows, hot", [=](auto& state) { PqOneListHot(state, level); });
    add("PqScan 14,100 rows, L2", [=](auto& state) { PqScanLists(state, level, 94); });
    add("PqScan 14,100 rows, memory",
        [=](auto& state) { PqScanLists(state, level, kManyRows / kListRows); });
    add("ScoreRange 2,048", [=](auto& state) { Range(state, level, 2048); });
    add("ScoreRange 4,096", [=](auto& state) { Range(state, level, 4096); });
    add("ScoreSlots 200 of 300,000", [=](auto& state) { Slots(state, level); });
    add("SelectBest 96 of 2,048", [=](auto& state) { Select(state, level, 96, 2048); });
    add("SelectBest 512 of 4,096", [=](auto& state) { Select(state, level, 512, 4096); });
  }
  benchmark::RegisterBenchmark("Reservoir 200 of 14,000", KeepInReservoir);
  benchmark::RegisterBenchmark("Int8Query::Assign", QuantizeQuery);
  benchmark::RegisterBenchmark("QuantizeRow, RowError", QuantizeOneRow);
}

}  // namespace
}  // namespace vecino::index

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  vecino::index::Register();
  benchmark::RunSpecifiedBenchmarks();
}
