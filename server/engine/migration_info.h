// What callers ask of and hear about the migration of a collection's embeddings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/prompt_names.h"

namespace vecino::engine {

// The embeddings there were when the migration began, and those it makes.
enum class MigrationSide { kOld, kNew };

struct MigrationRequest {
  static constexpr int kMaxQueries = 200;
  static constexpr int kMaxTopK = 100;
  static constexpr size_t kMaxQueryBytes = 1 << 20;  // of all queries

  std::string model;    // of the new side
  int dimension = 0;    // of the new side; 0: the model's
  PromptNames prompts;  // of the new side
  // For the overlap; empty: texts of the collection are taken.
  std::vector<std::string> queries;
  int top_k = 10;          // of the overlap
  bool automatic = false;  // cut over when the new side is built and the overlap is enough
  double min_overlap = 0;  // automatic: 0 to 1
  // Whether to go on though documents have a vector of their caller's and no text: such a document
  // has none on the new side.
  bool allow_vectorless = false;
};

// How alike the answers of the two sides are.
struct MigrationOverlap {
  int samples = 0;  // queries
  int top_k = 0;
  double overlap = 0;      // share of the old side's top k in the new side's, mean
  double rank_biased = 0;  // rank-biased overlap with p = 0.9 (Webber et al. 2010), mean
  bool own_texts = false;  // whether the queries were texts of the collection
};

struct MigrationInfo {
  enum class State {
    kBuilding,  // the new side is filled
    kReady,     // both sides are equal but for `lag`; callers see the old one
    kCutOver,   // both sides are equal but for `lag`; callers see the new one
  };
  struct Side {
    std::string model, model_hash;
    PromptNames prompts;
    int dimension = 0;
    int64_t without_vector = 0;  // documents
  };

  State state = State::kBuilding;
  MigrationSide active = MigrationSide::kOld;  // what callers see
  Side old_side, new_side;
  int64_t documents_done = 0, documents_total = 0;  // while it is built
  int64_t lag = 0;  // writes of the active side that the other one does not have yet
  std::optional<MigrationOverlap> overlap;
  std::string operation;  // id
  absl::Time begin_time;
  absl::Time switch_time = absl::InfinitePast();  // the last cut-over or rollback; past: none yet
  absl::Status problem;  // not OK: what the work waits for; it is tried again
};

}  // namespace vecino::engine
