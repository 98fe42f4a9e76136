// Engine::Embed: texts to vectors, apart from any collection.
#pragma once

#include "absl/status/statusor.h"
#include "encoder/encoder.h"
#include "server/engine/engine.h"

namespace vecino::engine {

// As Engine::Embed.
absl::StatusOr<Embedded> EmbedTexts(encoder::Encoder& encoder, const EmbedRequest& request,
                                    const CallContext& context);

}  // namespace vecino::engine
