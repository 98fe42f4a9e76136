#include "tests/bench/server_bench_data.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <thread>

namespace vecino::bench {
namespace {

constexpr float kTie = 1e-6F;
constexpr size_t kTruthThreads = 2;
constexpr size_t kQueryBlock = 64;  // 96 KiB at 384 dimensions: stays in the second level cache

float Dot(const float* a, const float* b, size_t n) {
  using Lanes = float __attribute__((vector_size(16)));
  Lanes sums[4] = {};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (size_t j = 0; j < 4; ++j) {
      Lanes x, y;
      std::memcpy(&x, a + i + 4 * j, sizeof x);
      std::memcpy(&y, b + i + 4 * j, sizeof y);
      sums[j] += x * y;
    }
  }
  const Lanes sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float result = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (; i < n; ++i) result += a[i] * b[i];
  return result;
}

}  // namespace

NpyFile::NpyFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) throw std::runtime_error("cannot open " + path);
  bytes_ = static_cast<size_t>(status.st_size);
  map_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  if (map_ == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  const auto* head = static_cast<const unsigned char*>(map_);
  if (bytes_ < 10 || std::memcmp(head, "\x93NUMPY\x01", 7) != 0) {
    throw std::runtime_error(path + " is not a version 1 npy file");
  }
  const size_t start = 10 + head[8] + 256 * size_t{head[9]};
  const std::string header(reinterpret_cast<const char*>(head) + 10, std::min(bytes_, start) - 10);
  const size_t shape = header.find("'shape': (");
  if (header.find("'<f4'") == std::string::npos || header.find("True") != std::string::npos ||
      shape == std::string::npos ||
      std::sscanf(header.c_str() + shape + 10, "%zu, %zu", &rows_, &columns_) != 2) {
    throw std::runtime_error(path + " does not hold two-dimensional float32");
  }
  if (start % sizeof(float) != 0 || bytes_ != start + rows_ * columns_ * sizeof(float)) {
    throw std::runtime_error(path + " is cut short");
  }
  data_ = reinterpret_cast<const float*>(head + start);
}

NpyFile::~NpyFile() { munmap(map_, bytes_); }

std::string NpyFile::Bytes(size_t i) const {
  return std::string(reinterpret_cast<const char*>(row(i)), columns_ * sizeof(float));
}

std::string IdOf(int64_t number) { return "d" + std::to_string(number); }

int64_t NumberOf(std::string_view id) {
  int64_t number = -1;
  if (!id.starts_with('d')) return -1;
  const auto end = std::from_chars(id.data() + 1, id.data() + id.size(), number);
  return end.ec == std::errc() && end.ptr == id.data() + id.size() ? number : -1;
}

Truth TruthFromFile(const NpyFile& scores, size_t k) {
  if (scores.columns() < k) throw std::runtime_error("truth_scores.npy has too few columns");
  Truth truth{.k = k, .kth = {}};
  for (size_t q = 0; q < scores.rows(); ++q) truth.kth.push_back(scores.row(q)[k - 1]);
  return truth;
}

Truth TruthOf(const NpyFile& base, const NpyFile& queries, size_t count,
              const std::vector<int64_t>& live, size_t k) {
  count = std::min(count, queries.rows());
  Truth truth{.k = std::min(k, live.size()), .kth = std::vector<float>(count)};
  const auto work = [&](size_t first, size_t last) {
    std::vector<std::vector<float>> best(last - first);  // the lowest of the k best is in front
    for (const int64_t number : live) {
      const float* row = base.row(static_cast<size_t>(number) % base.rows());
      for (size_t q = first; q < last; ++q) {
        const float score = Dot(queries.row(q), row, base.columns());
        std::vector<float>& heap = best[q - first];
        if (heap.size() == truth.k) {
          if (score <= heap.front()) continue;
          std::pop_heap(heap.begin(), heap.end(), std::greater<>());
          heap.pop_back();
        }
        heap.push_back(score);
        std::push_heap(heap.begin(), heap.end(), std::greater<>());
      }
    }
    for (size_t q = first; q < last; ++q) truth.kth[q] = best[q - first].front();
  };
  if (truth.k == 0) throw std::runtime_error("there are no documents");
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kTruthThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t first = t * kQueryBlock; first < count; first += kTruthThreads * kQueryBlock) {
        work(first, std::min(count, first + kQueryBlock));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return truth;
}

double Recall(const NpyFile& base, const NpyFile& queries, const Truth& truth,
              const std::vector<std::vector<int64_t>>& found) {
  const size_t count = std::min(truth.kth.size(), found.size());
  size_t right = 0;
  for (size_t q = 0; q < count; ++q) {
    std::vector<int64_t> numbers = found[q];
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    size_t here = 0;
    for (const int64_t number : numbers) {
      if (number < 0) continue;
      const float* row = base.row(static_cast<size_t>(number) % base.rows());
      if (Dot(queries.row(q), row, base.columns()) >= truth.kth[q] - kTie) ++here;
    }
    right += std::min(here, truth.k);
  }
  return count == 0 ? 0 : static_cast<double>(right) / static_cast<double>(count * truth.k);
}

}  // namespace vecino::bench
