// Migrations of embeddings: the client's plain values to and from the contract's.
#pragma once

#include <vecino/v1/collection.pb.h>

#include "client/vecino/client.h"

namespace vecino::internal {

v1::EmbeddingSide ToProto(EmbeddingSide side);
EmbeddingMigration FromProto(const v1::EmbeddingMigration& message);

}  // namespace vecino::internal
