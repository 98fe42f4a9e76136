// Whether bytes are text: the encoder's answer, for the RPC layer, which may not include the
// encoder.
#pragma once

#include "encoder/utf8.h"

namespace vecino::engine {

using encoder::FindInvalidUtf8;

}  // namespace vecino::engine
