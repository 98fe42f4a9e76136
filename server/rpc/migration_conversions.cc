#include "server/rpc/migration_conversions.h"

#include <string>

#include "server/rpc/conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

using engine::MigrationInfo;
using engine::MigrationSide;

constexpr int kDefaultTopK = 10;
constexpr size_t kMaxProblemBytes = 1000;

absl::StatusOr<bool> ReadCutOver(v1::MigrateEmbeddingsRequest::CutOver cut_over) {
  switch (cut_over) {
    case v1::MigrateEmbeddingsRequest::CUT_OVER_UNSPECIFIED:
    case v1::MigrateEmbeddingsRequest::CUT_OVER_MANUAL:
      return false;
    case v1::MigrateEmbeddingsRequest::CUT_OVER_AUTOMATIC:
      return true;
    default:  // proto3 enums are open: a newer client may send what this server does not know
      return engine::InvalidField("cut_over", Concat("is ", static_cast<int>(cut_over),
                                                     "; this server knows CUT_OVER_MANUAL and "
                                                     "CUT_OVER_AUTOMATIC"));
  }
}

v1::EmbeddingMigration::State WriteState(MigrationInfo::State state) {
  switch (state) {
    case MigrationInfo::State::kBuilding:
      return v1::EmbeddingMigration::STATE_BUILDING;
    case MigrationInfo::State::kReady:
      return v1::EmbeddingMigration::STATE_READY;
    case MigrationInfo::State::kCutOver:
      return v1::EmbeddingMigration::STATE_CUT_OVER;
  }
  return v1::EmbeddingMigration::STATE_UNSPECIFIED;
}

void WriteSideInfo(const MigrationInfo::Side& side, v1::EmbeddingSideInfo* out) {
  if (!side.model.empty()) {
    WriteEmbedding(side.model, side.model_hash, side.prompts, out->mutable_embedding());
  }
  out->set_dimension(side.dimension);
  out->set_documents_without_vector(side.without_vector);
}

}  // namespace

absl::StatusOr<engine::MigrationRequest> ReadMigration(
    const v1::MigrateEmbeddingsRequest& request) {
  engine::MigrationRequest read;
  if (request.embedding().model().empty()) {
    return engine::InvalidField("embedding.model",
                                "is empty; name the model of the new embeddings");
  }
  auto model = ParseModelName("embedding.model", request.embedding().model());
  if (!model.ok()) return model.status();
  read.model = *std::move(model);
  read.prompts = ReadPrompts(request.embedding());
  read.dimension = request.dimension();
  read.queries.assign(request.queries().begin(), request.queries().end());
  read.top_k = request.top_k() == 0 ? kDefaultTopK : request.top_k();
  const auto automatic = ReadCutOver(request.cut_over());
  if (!automatic.ok()) return automatic.status();
  read.automatic = *automatic;
  read.min_overlap = request.min_overlap();
  if (read.min_overlap != 0 && !read.automatic) {
    return engine::InvalidField("min_overlap",
                                "is set, and only CUT_OVER_AUTOMATIC asks for it; leave it");
  }
  read.allow_vectorless = request.allow_vectorless();
  return read;
}

absl::StatusOr<MigrationSide> ReadSide(std::string_view field, v1::EmbeddingSide side) {
  if (side == v1::EMBEDDING_SIDE_OLD) return MigrationSide::kOld;
  if (side == v1::EMBEDDING_SIDE_NEW) return MigrationSide::kNew;
  return engine::InvalidField(field, Concat("is ", static_cast<int>(side),
                                            "; it must be EMBEDDING_SIDE_OLD or "
                                            "EMBEDDING_SIDE_NEW"));
}

void WriteOverlap(const engine::MigrationOverlap& overlap, v1::EmbeddingOverlap* out) {
  out->set_samples(overlap.samples);
  out->set_top_k(overlap.top_k);
  out->set_overlap(overlap.overlap);
  out->set_rank_biased_overlap(overlap.rank_biased);
  out->set_own_texts(overlap.own_texts);
}

void WriteMigration(std::string_view collection, const MigrationInfo& info,
                    v1::EmbeddingMigration* out) {
  out->set_state(WriteState(info.state));
  out->set_active(info.active == MigrationSide::kOld ? v1::EMBEDDING_SIDE_OLD
                                                     : v1::EMBEDDING_SIDE_NEW);
  WriteSideInfo(info.old_side, out->mutable_old_side());
  WriteSideInfo(info.new_side, out->mutable_new_side());
  out->set_documents_done(info.documents_done);
  out->set_documents_total(info.documents_total);
  out->set_lag(info.lag);
  if (info.overlap.has_value()) WriteOverlap(*info.overlap, out->mutable_overlap());
  out->set_operation(OperationNameOf(collection, info.operation));
  WriteTime(info.begin_time, out->mutable_begin_time());
  if (info.switch_time != absl::InfinitePast()) {
    WriteTime(info.switch_time, out->mutable_switch_time());
  }
  if (!info.problem.ok()) {
    out->set_problem(Printable(ToStd(info.problem.message()), kMaxProblemBytes));
  }
}

}  // namespace vecino::rpc
