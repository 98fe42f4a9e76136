// How a search was answered, between the contract and the engine.
#pragma once

#include "server/engine/engine.h"
#include "vecino/v1/recall.pb.h"

namespace vecino::rpc {

void WriteEffort(const engine::SearchEffort& effort, v1::SearchEffort* out);
void WriteExplanation(const engine::SearchExplanation& explanation, v1::SearchExplanation* out);

}  // namespace vecino::rpc
