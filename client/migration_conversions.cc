#include "client/migration_conversions.h"

#include "client/conversions.h"

namespace vecino::internal {
namespace {

EmbeddingSide FromProto(v1::EmbeddingSide side) {
  return side == v1::EMBEDDING_SIDE_NEW ? EmbeddingSide::kNew : EmbeddingSide::kOld;
}

EmbeddingSideInfo FromProto(const v1::EmbeddingSideInfo& message) {
  return {.model = LastPart(message.embedding().model()),
          .model_hash = message.embedding().model_hash(),
          .query_prompt = message.embedding().query_prompt(),
          .document_prompt = message.embedding().document_prompt(),
          .dimension = message.dimension(),
          .documents_without_vector = message.documents_without_vector()};
}

}  // namespace

v1::EmbeddingSide ToProto(EmbeddingSide side) {
  return side == EmbeddingSide::kOld ? v1::EMBEDDING_SIDE_OLD : v1::EMBEDDING_SIDE_NEW;
}

EmbeddingMigration FromProto(const v1::EmbeddingMigration& message) {
  EmbeddingMigration migration;
  if (message.state() == v1::EmbeddingMigration::STATE_READY) {
    migration.state = EmbeddingMigration::State::kReady;
  } else if (message.state() == v1::EmbeddingMigration::STATE_CUT_OVER) {
    migration.state = EmbeddingMigration::State::kCutOver;
  }
  migration.active = FromProto(message.active());
  migration.old_side = FromProto(message.old_side());
  migration.new_side = FromProto(message.new_side());
  migration.documents_done = message.documents_done();
  migration.documents_total = message.documents_total();
  migration.lag = message.lag();
  if (message.has_overlap()) {
    const v1::EmbeddingOverlap& overlap = message.overlap();
    migration.overlap = {.samples = overlap.samples(),
                         .top_k = overlap.top_k(),
                         .overlap = overlap.overlap(),
                         .rank_biased_overlap = overlap.rank_biased_overlap(),
                         .own_texts = overlap.own_texts()};
  }
  migration.operation = LastPart(message.operation());
  migration.begin_time = internal::FromProto(message.begin_time());
  migration.switch_time = internal::FromProto(message.switch_time());
  migration.problem = message.problem();
  return migration;
}

}  // namespace vecino::internal
