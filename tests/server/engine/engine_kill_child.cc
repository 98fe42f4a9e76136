#include "tests/server/engine/engine_kill_child.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/engine/engine.h"
#include "server/engine/manifest.h"
#include "tests/server/engine/engine_kill_store.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

constexpr int kDimension = 16;
const char* const kNames[kKillCollections] = {"kept", "dropped"};

std::string IdOf(int id) { return absl::StrCat("document ", id); }

// Depends on nothing but id and version.
std::vector<float> VectorOf(int id, int version) {
  std::minstd_rand rng(static_cast<uint32_t>(id * 100'003 + version + 1'000));
  rng.discard(2);
  std::uniform_real_distribution<float> noise(-2, 2);
  std::vector<float> vector(kDimension);
  for (float& x : vector) x = noise(rng) + static_cast<float>(3 * (id % 8));
  return vector;
}

class WarningSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit WarningSink(std::function<void(const std::string&)> on_warning)
      : on_warning_(std::move(on_warning)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.level < spdlog::level::warn) return;
    on_warning_(std::string(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}
  const std::function<void(const std::string&)> on_warning_;
};

// Ends the process at the first thing that is wrong.
class Child {
 public:
  Child(IndexKind kind, const std::string& folder, const std::vector<Batch>& batches,
        const State& state, Shared* shared, int notes)
      : folder_(folder), batches_(batches), state_(state), shared_(shared), notes_(notes) {
    spec_.dimension = kDimension;
    spec_.metric = Metric::kL2;
    spec_.shard_count = 1;
    spec_.index.kind = kind;
    if (kind == IndexKind::kAuto || kind == IndexKind::kHnsw) spec_.index.hnsw_m = 4;
    if (kind == IndexKind::kHnsw) spec_.index.ef_construction = 20;
    if (kind == IndexKind::kIvfPq) spec_.index.pq_m = 4, spec_.index.pq_bits = 4;
    options_.tail_capacity = kKillTail;
    options_.index_folder = folder + "/index";
    options_.maintenance.max_segments = 3;
    options_.maintenance.exact_rows = 400;
    options_.maintenance.min_index_rows = 200;
    options_.maintenance.min_drift_rows = int64_t{1} << 40;  // Idle does not know of drift
    options_.maintenance.graph_rows = 300;
    options_.maintenance.graph_max_dead_share = 0.2;
    options_.maintenance.graph_quiet = absl::ZeroDuration();
    OpenGate(&options_.maintenance);
    const bool spoils = std::any_of(batches.begin(), batches.end(), [](const Batch& batch) {
      return batch.type == Batch::kRetrainSpoiled;
    });
    if (spoils) options_.maintenance.gate_cost = options_.maintenance.gate_cost_of_more = 0;
    options_.hooks.spoil = [this](std::vector<float>* sample) {
      if (spoil_) std::fill(sample->begin(), sample->end(), 0.0f);
    };
    options_.hooks.at = [this](std::string_view stage) {
      WatchedStep(StepOfStage(stage)).After();
      if (stage != "encoding") return;
      encoding_ = true;
      const absl::Time patience = absl::Now() + absl::Seconds(5);
      while ((written_ < hold_until_ || (hold_until_ > 0 && !Drained())) &&
             absl::Now() < patience) {
        absl::SleepFor(absl::Microseconds(100));
      }
    };
  }

  int Segments() {
    const auto stats = engine_->GetCollectionStats(kNames[0]);
    if (!stats.ok()) Fail(stats.status().ToString());
    return stats->shards[0].segments;
  }
  bool Drained() { return Segments() > segments_beside_; }

  // Works through the batches up to `to`. A run that follows a kill compares first.
  [[noreturn]] void Run(int to, const KillPoint& point) {
    alarm(120);
    auto sink = std::make_shared<WarningSink>(
        [this](const std::string& text) { Fail(absl::StrCat("a warning was logged: ", text)); });
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("child", sink));
    Watch(options_.index_folder, &shared_->counts, point);
    auto store = storage::Store::Open({.path = folder_ + "/store"});
    if (!store.ok()) Fail(store.status().ToString());
    store_ = std::make_unique<WatchedStore>(*std::move(store));
    auto engine = Engine::Open(options_, store_.get(), &encoder_, &metrics_);
    if (!engine.ok()) Fail(engine.status().ToString());
    engine_ = *std::move(engine);
    Resolve();
    Check();
    while (state_.next < to) {
      const Batch batch = batches_[static_cast<size_t>(state_.next)];
      Tell(Note::kBegun, state_.next++);
      Do(batch);
      state_.Apply(batch);
      Tell(Note::kDone, state_.next - 1);
    }
    hold_until_ = 0;
    Check();
    Settle();
    Check();
    if (metrics_.Value("vecino_maintenance_failures_total") != 0) Fail("maintenance failed");
    engine_->Shutdown();
    engine_.reset();
    store_.reset();
    _exit(0);
  }

 private:
  [[noreturn]] void Fail(const std::string& why) {
    snprintf(shared_->failure, sizeof shared_->failure, "%s", why.c_str());
    _exit(1);
  }

  void Tell(Note::Type type, int batch) {
    const Note note{type, batch};
    if (write(notes_, &note, sizeof note) != sizeof note) Fail("the parent is gone");
  }

  void Do(const Batch& batch) {
    const std::string name = kNames[batch.collection];
    const auto expect = [&](const absl::Status& status) {
      if (!status.ok()) Fail(absl::StrCat("batch ", state_.next - 1, ": ", status.ToString()));
    };
    std::vector<WriteResult> results;
    switch (batch.type) {
      case Batch::kCreate: {
        CollectionSpec spec = spec_;
        spec.id = name;
        return expect(engine_->CreateCollection(spec, false).status());
      }
      case Batch::kDrop:
        return expect(engine_->DeleteCollection(name, ""));
      case Batch::kSettle:
        hold_until_ = 0;
        return Settle();
      case Batch::kRetrainBeside: {
        segments_beside_ = Segments();
        encoding_ = false;
        hold_until_ = written_ + 2 * kKillTail;
        const auto started = engine_->StartOperation(name, Operation::Type::kRetrain, {});
        expect(started.status());
        beside_ = started->id;
        // What it trains on is chosen: what is written from now on it has to catch up with.
        for (int ms = 0; !encoding_; ++ms) {
          if (ms > 30'000) Fail("a retrain does not begin");
          absl::SleepFor(absl::Milliseconds(1));
        }
        return;
      }
      case Batch::kRetrainSpoiled: {
        spoil_ = true;
        const auto started = engine_->StartOperation(name, Operation::Type::kRetrain, {});
        expect(started.status());
        const auto ended = engine_->WaitOperation(name, started->id, absl::Seconds(30), {});
        expect(ended.status());
        if (!ended->done) Fail("a retrain takes too long");
        spoil_ = false;
        if (!absl::IsFailedPrecondition(ended->status)) {
          Fail(absl::StrCat("a spoiled build was not rejected: ", ended->status.ToString()));
        }
        return;
      }
      case Batch::kRetrain:
      case Batch::kCompact: {
        const auto type =
            batch.type == Batch::kRetrain ? Operation::Type::kRetrain : Operation::Type::kCompact;
        const auto started = engine_->StartOperation(name, type, {});
        expect(started.status());
        const auto ended = engine_->WaitOperation(name, started->id, absl::Seconds(30), {});
        expect(ended.status());
        if (!ended->done) Fail("an operation takes too long");
        return expect(ended->status);
      }
      case Batch::kPut: {
        std::vector<DocumentWrite> writes;
        for (const int id : batch.ids) {
          DocumentWrite& write = writes.emplace_back();
          write.document.id = IdOf(id);
          write.document.text = absl::StrCat(batch.version);
          write.document.vector = VectorOf(id, batch.version);
        }
        auto written = engine_->Upsert(name, std::move(writes), Truncate::kAuto, {});
        expect(written.status());
        results = *std::move(written);
        written_ += static_cast<int>(results.size());
        break;
      }
      case Batch::kDelete: {
        std::vector<std::string> ids;
        for (const int id : batch.ids) ids.push_back(IdOf(id));
        auto written = engine_->Delete(name, ids, {});
        expect(written.status());
        results = *std::move(written);
        break;
      }
    }
    for (size_t i = 0; i < results.size(); ++i) {
      const auto& there = state_.documents[static_cast<size_t>(batch.collection)];
      if (batch.type == Batch::kDelete && !there.contains(batch.ids[i])) continue;
      expect(results[i].status);
    }
  }

  // Finds out whether the batch that the last process died in was written.
  void Resolve() {
    if (!state_.in_flight) return;
    state_.in_flight = false;
    const int number = state_.next - 1;
    const Batch& batch = batches_[static_cast<size_t>(number)];
    const bool exists = engine_->GetCollection(kNames[batch.collection]).ok();
    bool done = true;
    if (batch.type == Batch::kCreate) done = exists;
    if (batch.type == Batch::kDrop) done = !exists;
    if (batch.type == Batch::kPut || batch.type == Batch::kDelete) {
      const auto before = Versions(batch.collection, batch.ids);
      State after = state_;
      after.Apply(batch);
      done = false;
      for (const bool applied : {false, true}) {
        const State& wanted = applied ? after : state_;
        const auto& documents = wanted.documents[static_cast<size_t>(batch.collection)];
        const bool equal = std::all_of(batch.ids.begin(), batch.ids.end(), [&](int id) {
          const auto it = documents.find(id);
          return before.at(id) == (it == documents.end() ? 0 : it->second);
        });
        if (equal) done = applied;
        if (equal) break;
        if (applied) Fail(absl::StrCat("batch ", number, " was written in part"));
      }
    }
    if (done) {
      state_.Apply(batch);
    } else {
      state_.next = number;  // once more
    }
    Tell(done ? Note::kDone : Note::kNothingOfIt, number);
  }

  // 0: not there. Fails when a document's vector is not that of its version.
  std::map<int, int> Versions(int collection, const std::vector<int>& ids) {
    std::map<int, int> versions;
    for (size_t begin = 0; begin < ids.size(); begin += Limits::kMaxBatch) {
      std::vector<std::string> names;
      const size_t end = std::min<size_t>(begin + Limits::kMaxBatch, ids.size());
      for (size_t i = begin; i < end; ++i) names.push_back(IdOf(ids[i]));
      const auto found =
          engine_->Get(kNames[collection], names, {.text = true, .metadata = false, .vector = true},
                       std::numeric_limits<size_t>::max());
      if (!found.ok()) Fail(found.status().ToString());
      for (size_t i = begin; i < end; ++i) {
        const auto& document = (*found)[i - begin];
        int& version = versions[ids[i]] = 0;
        if (!document.has_value()) continue;
        if (!absl::SimpleAtoi(document->text, &version) ||
            document->vector != VectorOf(ids[i], version)) {
          Fail(absl::StrCat(document->id, " has another vector than its version ", version));
        }
      }
    }
    return versions;
  }

  void Check() {
    for (int collection = 0; collection < kKillCollections; ++collection) {
      const State::Life life = state_.life[static_cast<size_t>(collection)];
      const bool exists = engine_->GetCollection(kNames[collection]).ok();
      if (exists != (life == State::kThere)) {
        Fail(absl::StrCat("collection ", kNames[collection], exists ? " is there" : " is gone"));
      }
      if (exists) CheckCollection(collection);
    }
  }

  void CheckCollection(int collection) {
    const auto& documents = state_.documents[static_cast<size_t>(collection)];
    const auto count = engine_->Count(kNames[collection]);
    if (!count.ok()) Fail(count.status().ToString());
    if (*count != static_cast<int64_t>(documents.size())) {
      Fail(absl::StrCat(*count, " documents instead of ", documents.size()));
    }
    std::vector<int> ids(kKillIds);
    for (int id = 0; id < kKillIds; ++id) ids[static_cast<size_t>(id)] = id;
    for (const auto& [id, version] : Versions(collection, ids)) {
      const auto it = documents.find(id);
      const int expected = it == documents.end() ? 0 : it->second;
      if (version != expected) {
        Fail(absl::StrCat(IdOf(id), " has version ", version, " instead of ", expected,
                          " (0: deleted)"));
      }
    }
    std::vector<std::pair<int, std::vector<float>>> rows;
    for (const auto& [id, version] : documents) rows.emplace_back(id, VectorOf(id, version));
    for (int i = 0; i < 12; ++i) {
      Compare(collection, rows, VectorOf(i, -1 - i), i == 0 ? Limits::kMaxTopK : 10, i % 3 != 2);
    }
  }

  void Compare(int collection, const std::vector<std::pair<int, std::vector<float>>>& rows,
               const std::vector<float>& query, int top_k, bool exact) {
    std::map<std::string, double> scores;
    std::vector<double> best;
    for (const auto& [id, vector] : rows) {
      double score = 0;
      for (int j = 0; j < kDimension; ++j) {
        const double x = vector[static_cast<size_t>(j)] - query[static_cast<size_t>(j)];
        score += x * x;
      }
      scores[IdOf(id)] = score;
      best.push_back(score);
    }
    std::sort(best.begin(), best.end());
    const SearchRequest request{
        .query = VectorQuery{query}, .top_k = top_k, .parts = {.text = false}, .exact = exact};
    const auto result = engine_->Search(kNames[collection], request, {});
    if (!result.ok()) Fail(result.status().ToString());
    if (result->hits.size() != std::min<size_t>(static_cast<size_t>(top_k), rows.size())) {
      Fail(absl::StrCat(result->hits.size(), " hits of ", top_k, " among ", rows.size(), " rows"));
    }
    for (size_t rank = 0; rank < result->hits.size(); ++rank) {
      const SearchHit& hit = result->hits[rank];
      const auto it = scores.find(hit.document.id);
      if (it == scores.end()) Fail(hit.document.id + " is found twice, or though it is deleted");
      const double slack = 1e-4 * (1 + it->second);
      if (std::abs(hit.score - it->second) > slack ||
          (exact && std::abs(hit.score - best[rank]) > slack)) {
        Fail(absl::StrCat(hit.document.id, " at rank ", rank, " has score ", hit.score,
                          ", its distance is ", it->second, ", the best at this rank ",
                          best[rank]));
      }
      scores.erase(it);
    }
  }

  // Until maintenance has nothing more to do and the folder holds what the manifests name.
  void Settle() {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    std::string why;
    while (!(why = Unsettled()).empty()) {
      if (absl::Now() > deadline) Fail(absl::StrCat("maintenance does not end: ", why));
      absl::SleepFor(absl::Microseconds(300));
    }
  }

  std::string Unsettled() {
    if (!beside_.empty()) {
      const auto operation = engine_->GetOperation(kNames[0], beside_);
      if (!operation.ok()) Fail(operation.status().ToString());
      if (!operation->done) return "a retrain runs";
      if (!operation->status.ok()) Fail(operation->status.ToString());
      beside_.clear();
    }
    for (const CollectionInfo& info : engine_->ListCollections()) {
      const auto stats = engine_->GetCollectionStats(info.spec.id);
      if (!stats.ok()) Fail(stats.status().ToString());
      for (const ShardStats& shard : stats->shards) {
        // A full tail is frozen when the next row comes.
        if (shard.tail_rows > kKillTail) return "a drain is due";
        MaintenanceState state;
        state.spec = info.spec.index;
        state.now = absl::Now();
        state.generation = shard.generation;
        state.trained_rows = shard.generation_rows;
        state.calibrated_rows = shard.calibrated_rows;
        for (const ShardStats::SegmentInfo& segment : shard.segment_list) {
          auto& entry = state.segments.emplace_back();
          const std::string_view kind =
              std::string_view(segment.kind).substr(0, segment.kind.find('+'));
          for (auto k = index::SegmentKind::kFlat; index::SegmentKindName(k) != kind;) {
            if (k == index::SegmentKind::kLsh) Fail("unknown kind " + segment.kind);
            entry.kind = k = static_cast<index::SegmentKind>(static_cast<uint32_t>(k) + 1);
          }
          entry.rows = segment.rows;
          entry.dead = segment.dead;
          entry.generation = segment.generation;
          entry.graph = kind.size() != segment.kind.size();
          entry.since = absl::InfinitePast();
        }
        const MaintenanceStep step = NextStep(state, options_.maintenance);
        if (step.kind != MaintenanceStep::Kind::kNone) return step.why;
      }
    }
    std::set<std::string> wanted, there;
    for (const auto& [key, bytes] : store_->manifests()) {
      if (bytes.empty()) continue;
      const auto manifest = DecodeManifest(bytes);
      if (!manifest.ok()) Fail(manifest.status().ToString());
      const std::string shard = absl::StrCat(key.first, "/", key.second, "/");
      const auto add = [&](const char* name, uint64_t number) {
        if (number != 0) wanted.insert(absl::StrCat(shard, name, "-", number));
      };
      add("generation", manifest->generation);
      for (const Manifest::Segment& segment : manifest->segments) {
        add("segment", segment.file);
        add("graph", segment.graph);
        add("generation", segment.generation);
      }
      for (const Manifest::Fields& fields : manifest->fields) add("fields", fields.file);
    }
    std::error_code error;  // files come and go
    for (std::filesystem::recursive_directory_iterator it(options_.index_folder, error), end;
         !error && it != end; it.increment(error)) {
      if (it->is_directory(error)) continue;
      there.insert(std::filesystem::relative(it->path(), options_.index_folder, error).string());
    }
    if (wanted == there) return "";
    return absl::StrCat("the manifests name ", absl::StrJoin(wanted, " "), ", the folder holds ",
                        absl::StrJoin(there, " "));
  }

  std::atomic<bool> encoding_ = false;    // since a kRetrainBeside began
  std::atomic<int> written_ = 0;          // documents
  std::atomic<int> hold_until_ = 0;       // so many are, and a tail of them is a segment
  std::atomic<int> segments_beside_ = 0;  // that there were when hold_until_ was set
  std::atomic<bool> spoil_ = false;       // what is trained now
  std::string beside_;                    // operation of a kRetrainBeside
  const std::string folder_;
  const std::vector<Batch>& batches_;
  State state_;
  Shared* const shared_;
  const int notes_;
  CollectionSpec spec_;
  EngineOptions options_;
  FakeEncoder encoder_;
  FakeMetrics metrics_;
  std::unique_ptr<WatchedStore> store_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace

void RunKillChild(index::IndexKind kind, const std::string& folder,
                  const std::vector<Batch>& batches, const State& state, int to,
                  const KillPoint& point, Shared* shared, int notes) {
  (new Child(kind, folder, batches, state, shared, notes))->Run(to, point);
}

}  // namespace vecino::engine
