#include "server/rpc/migration_handlers.h"

#include <optional>

#include "server/rpc/conversions.h"
#include "server/rpc/index_conversions.h"
#include "server/rpc/migration_conversions.h"
#include "server/rpc/resource_names.h"

namespace vecino::rpc {

absl::Status MigrationHandlers::MigrateEmbeddings(const v1::MigrateEmbeddingsRequest& request,
                                                  google::longrunning::Operation* response,
                                                  const engine::CallContext& context) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  auto migration = ReadMigration(request);
  if (!migration.ok()) return migration.status();
  if (request.validate_only()) {
    auto estimate = engine_.EstimateMigration(*id, *migration, context);
    if (!estimate.ok()) return estimate.status();
    WriteEstimate(*id, engine::Operation::Type::kMigrate, *estimate, response);
    return absl::OkStatus();
  }
  auto info = engine_.MigrateEmbeddings(*id, *migration);
  if (!info.ok()) return info.status();
  WriteOperation(*info, response);
  return absl::OkStatus();
}

absl::Status MigrationHandlers::SwitchEmbeddings(const v1::SwitchEmbeddingsRequest& request,
                                                 v1::SwitchEmbeddingsResponse* response,
                                                 const engine::CallContext& context) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  const auto to = ReadSide("to", request.to());
  if (!to.ok()) return to.status();
  auto info = engine_.SwitchEmbeddings(*id, *to, context);
  if (!info.ok()) return info.status();
  WriteCollection(*info, response->mutable_collection());
  return absl::OkStatus();
}

absl::Status MigrationHandlers::FinishEmbeddingMigration(
    const v1::FinishEmbeddingMigrationRequest& request,
    v1::FinishEmbeddingMigrationResponse* response, const engine::CallContext&) {
  auto id = ParseCollectionName("name", request.name());
  if (!id.ok()) return id.status();
  std::optional<engine::MigrationSide> keep;
  if (request.keep() != v1::EMBEDDING_SIDE_UNSPECIFIED) {
    const auto side = ReadSide("keep", request.keep());
    if (!side.ok()) return side.status();
    keep = *side;
  }
  auto info = engine_.FinishMigration(*id, keep);
  if (!info.ok()) return info.status();
  WriteCollection(*info, response->mutable_collection());
  return absl::OkStatus();
}

}  // namespace vecino::rpc
