// The folder of everything that is stored, and the files that say where the server listens.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace vecino {

// Makes `path` when it is missing and checks that files can be written in it. PERMISSION_DENIED,
// RESOURCE_EXHAUSTED (disk full) or FAILED_PRECONDITION (not a folder), naming the folder and what
// to do.
absl::Status PrepareFolder(const std::string& path);

// Writes `content` to `path` so that a reader sees all of it or nothing: a file beside it, then a
// rename. Errors as above; FAILED_PRECONDITION also when its folder is missing or `path` is one.
absl::Status WriteFileAtOnce(const std::string& path, const std::string& content);

}  // namespace vecino
