// Migrations of embeddings between the contract and the engine.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "server/engine/migration_info.h"
#include "vecino/v1/collection.pb.h"
#include "vecino/v1/collection_service.pb.h"

namespace vecino::rpc {

// INVALID_ARGUMENT for names and enums that are none; the engine checks all else.
absl::StatusOr<engine::MigrationRequest> ReadMigration(const v1::MigrateEmbeddingsRequest& request);

// INVALID_ARGUMENT naming `field` unless it is OLD or NEW.
absl::StatusOr<engine::MigrationSide> ReadSide(std::string_view field, v1::EmbeddingSide side);

void WriteOverlap(const engine::MigrationOverlap& overlap, v1::EmbeddingOverlap* out);
void WriteMigration(std::string_view collection, const engine::MigrationInfo& info,
                    v1::EmbeddingMigration* out);

}  // namespace vecino::rpc
