// Stored documents as queries, where callers' searches are too few.
#pragma once

#include <memory>

#include "server/engine/recall_sampler.h"

namespace vecino::engine {

class Maintenance;
class Registry;

// Probes one document of one of the collections, in turn, while nobody searches and maintenance has
// nothing to do. `maintenance` must outlive it.
RecallSampler::Probe ProbeAll(std::shared_ptr<const Registry> registry,
                              const Maintenance* maintenance);

}  // namespace vecino::engine
