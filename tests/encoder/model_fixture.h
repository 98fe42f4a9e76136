// Model folders for tests: where the real one is, and how to make a changed or a tiny one.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace vecino::encoder {

inline constexpr char kRealModel[] = "all-MiniLM-L6-v2";

// VECINO_MODEL_ROOT, or .cache/models of the source tree.
inline std::filesystem::path ModelRoot() {
  if (const char* root = std::getenv("VECINO_MODEL_ROOT")) return root;
  const char* source = std::getenv("VECINO_SOURCE_DIR");
  return std::filesystem::path(source ? source : ".") / ".cache" / "models";
}

inline bool HasRealModel() {
  return std::filesystem::exists(ModelRoot() / kRealModel / "manifest.json");
}

// Skips a test that needs the real model, and says why.
#define VECINO_NEED_REAL_MODEL()                               \
  if (!HasRealModel())                                         \
  GTEST_SKIP() << "no model at " << (ModelRoot() / kRealModel) \
               << "; ./deploy/test makes it, or set VECINO_MODEL_ROOT"

// A new directory for the running test.
std::filesystem::path NewTempDir();

std::string ReadAll(const std::filesystem::path& path);
void WriteAll(const std::filesystem::path& path, std::string_view bytes);

// Writes size and hash of every listed file into `folder`/manifest.json.
void UpdateManifest(const std::filesystem::path& folder, nlohmann::json manifest);

// A folder of the right form, whose model.pt is not a model.
void WriteTinyFolder(const std::filesystem::path& folder);

// `root`/`name`: the real model's files, linked, with a manifest and golden sentences of its own to
// change.
void LinkRealModel(const std::filesystem::path& root, const std::string& name);

}  // namespace vecino::encoder
