// The process that dies: what it is told to do, what it tells, and how it compares.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "server/engine/types.h"
#include "tests/server/engine/engine_kill_calls.h"

namespace vecino::engine {

inline constexpr int kKillTail = 160;  // rows of a tail
inline constexpr int kKillIds = 1400;  // documents have numbers below
inline constexpr int kKillCollections = 2;

// One call of the engine.
struct Batch {
  // kRetrainBeside: the retrain is held at its encoding until two tails' worth is written.
  // kRetrainSpoiled: it is trained on nothing of use and must be rejected. Where one is among a
  // child's batches, the child's gate rejects every build but the first.
  enum Type {
    kCreate,
    kPut,
    kDelete,
    kRetrain,
    kRetrainBeside,
    kRetrainSpoiled,
    kCompact,
    kSettle,
    kDrop
  };
  Type type = kPut;
  int collection = 0;
  std::vector<int> ids;
  int version = 0;  // of all its documents; unique
};

// What should be there.
struct State {
  enum Life { kNever, kThere, kGone };
  std::array<Life, kKillCollections> life = {kNever, kNever};
  std::array<std::map<int, int>, kKillCollections> documents;  // version by id
  int next = 0;                                                // batch
  bool in_flight = false;                                      // batch next - 1

  void Apply(const Batch& batch) {
    auto& there = documents[static_cast<size_t>(batch.collection)];
    Life& alive = life[static_cast<size_t>(batch.collection)];
    if (batch.type == Batch::kCreate) alive = kThere;
    if (batch.type == Batch::kDrop) alive = kGone, there.clear();
    for (const int id : batch.ids) {
      if (batch.type == Batch::kPut) there[id] = batch.version;
      if (batch.type == Batch::kDelete) there.erase(id);
    }
  }
};

// Memory that parent and child share.
struct Shared {
  StepCounts counts;
  char failure[4000];
};

// What a child tells of a batch.
struct Note {
  enum Type { kBegun, kDone, kNothingOfIt };
  Type type;
  int batch;
};

// Opens what is in `folder`, compares it with `state`, works through the batches from state.next up
// to `to` or until `point`, and lets maintenance end. Writes Notes to the file descriptor `notes`.
// Ends the process: with status 0, or 1 and the reason in shared->failure. Only in a process that
// was forked from one without threads.
[[noreturn]] void RunKillChild(index::IndexKind kind, const std::string& folder,
                               const std::vector<Batch>& batches, const State& state, int to,
                               const KillPoint& point, Shared* shared, int notes);

}  // namespace vecino::engine
