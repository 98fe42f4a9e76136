#include "encoder/packed_matrix.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <dnnl.hpp>
#include <iterator>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "encoder/bert_kernels.h"

namespace vecino::encoder {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

constexpr float kMostInt8 = 127;

const dnnl::engine& Engine() {
  static const auto* const engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

// Parallelism is over batches. Also once for each thread: the number is the calling thread's.
dnnl::stream& Stream() {
  thread_local dnnl::stream stream = [] {
    omp_set_num_threads(1);
    return dnnl::stream(Engine());
  }();
  return stream;
}

Type TypeOf(Precision precision, bool activation) {
  switch (precision) {
    case Precision::kFp32:
      return Type::f32;
    case Precision::kBf16:
      return Type::bf16;
    case Precision::kInt8:
      return activation ? Type::u8 : Type::s8;
  }
  return Type::f32;
}

}  // namespace

bool IsNative(Precision precision) {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  const auto has = [isa](dnnl::cpu_isa wanted) {
    return (static_cast<int>(isa) & static_cast<int>(wanted)) == static_cast<int>(wanted);
  };
  switch (precision) {
    case Precision::kFp32:
      return true;
    case Precision::kBf16:
      return has(dnnl::cpu_isa::avx512_core_bf16);
    case Precision::kInt8:
      return has(dnnl::cpu_isa::avx512_core_vnni) || has(dnnl::cpu_isa::avx2_vnni);
  }
  return false;
}

struct PackedMatrix::Impl {
  struct Product {
    dnnl::matmul primitive;
    dnnl::memory::desc activations, products, scratch;
  };
  std::array<Product, std::size(kRows)> products;  // as kRows
  dnnl::memory weights;
};

PackedMatrix::PackedMatrix() : impl_(new Impl) {}
PackedMatrix::~PackedMatrix() = default;

int64_t PackedMatrix::bytes() const {
  return static_cast<int64_t>(impl_->weights.get_desc().get_size() +
                              (column_scales_.size() + column_sums_.size()) * sizeof(float));
}

int PackedMatrix::NextRows(int left) {
  if (left >= kMostRows) return kMostRows;
  // The least that holds them all, if little of it is padding: going over the weights once more
  // costs about as much as eight rows.
  int next = kMostRows;
  for (const int rows : kRows) {
    if (rows < left) {
      const bool padded = next - left > 8;
      return padded ? rows : next;
    }
    next = rows;
  }
  return next;
}

absl::StatusOr<std::unique_ptr<const PackedMatrix>> PackedMatrix::Pack(const float* weight, int out,
                                                                       int in, Precision precision,
                                                                       bool native) {
  try {
    dnnl::stream& stream = Stream();  // first: primitives are made for as many threads as there are
    std::unique_ptr<PackedMatrix> matrix(new PackedMatrix());
    matrix->out_ = out;
    matrix->in_ = in;
    const auto n = static_cast<size_t>(out), k = static_cast<size_t>(in);
    // What oneDNN reads: in × out, by columns, so out × in.
    std::vector<float> rounded(weight, weight + n * k);
    if (precision == Precision::kBf16) {
      SupportedBertKernels().front()->round_bf16(weight, n * k, rounded.data());
    } else if (precision == Precision::kInt8) {
      matrix->column_scales_.resize(n);
      matrix->column_sums_.resize(n);
      for (size_t o = 0; o < n; ++o) {
        float most = 0;
        for (size_t i = 0; i < k; ++i) most = std::max(most, std::fabs(rounded[o * k + i]));
        const float scale = most > 0 ? most / kMostInt8 : 1;
        double sum = 0;
        for (size_t i = 0; i < k; ++i) {
          float& x = rounded[o * k + i];
          x = std::clamp(std::nearbyint(x / scale), -kMostInt8, kMostInt8);
          sum += x;
        }
        matrix->column_scales_[o] = scale;
        matrix->column_sums_[o] = static_cast<float>(sum);
      }
    }
    const Precision as = native ? precision : Precision::kFp32;
    matrix->activation_bytes_ = dnnl::memory::data_type_size(TypeOf(as, /*activation=*/true));
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::memory::desc any({in, out}, TypeOf(as, /*activation=*/false), Tag::any);
    dnnl::memory::desc packed;
    for (size_t i = 0; i < std::size(kRows); ++i) {
      Impl::Product& product = matrix->impl_->products[i];
      product.activations = {{kRows[i], in}, TypeOf(as, /*activation=*/true), Tag::ab};
      product.products = {{kRows[i], out}, Type::f32, Tag::ab};
      // All products share the weights as the one of most rows wants them.
      const dnnl::matmul::primitive_desc description(
          dnnl::matmul::desc(product.activations, i == 0 ? any : packed, product.products),
          attributes, Engine());
      packed = description.weights_desc();
      product.scratch = description.scratchpad_desc();
      product.primitive = dnnl::matmul(description);
    }
    dnnl::memory plain({{in, out}, Type::f32, Tag::ba}, Engine(), rounded.data());
    matrix->impl_->weights = dnnl::memory(packed, Engine());
    dnnl::reorder(plain, matrix->impl_->weights).execute(stream, plain, matrix->impl_->weights);
    stream.wait();
    return matrix;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for a matrix of ", out, " × ", in));
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrCat("oneDNN refuses a matrix of ", out, " × ", in, " in ",
                                            std::string(PrecisionName(precision)), ": ",
                                            error.what()));
  }
}

absl::Status PackedMatrix::Multiply(const void* activations, int rows, float* products,
                                    Scratch* scratch) const {
  try {
    const auto place = std::find(std::begin(kRows), std::end(kRows), rows) - std::begin(kRows);
    const Impl::Product& product = impl_->products.at(static_cast<size_t>(place));
    if (scratch->bytes.size() < product.scratch.get_size() + 64) {
      scratch->bytes.resize(product.scratch.get_size() + 64);
    }
    void* room = scratch->bytes.data();
    size_t space = scratch->bytes.size();
    std::align(64, product.scratch.get_size(), room, space);
    dnnl::memory in(product.activations, Engine(), const_cast<void*>(activations));
    dnnl::memory out(product.products, Engine(), products);
    dnnl::memory pad(product.scratch, Engine(), room);
    product.primitive.execute(Stream(), {{DNNL_ARG_SRC, in},
                                         {DNNL_ARG_WEIGHTS, impl_->weights},
                                         {DNNL_ARG_DST, out},
                                         {DNNL_ARG_SCRATCHPAD, pad}});
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("a matrix product failed: ", error.what()));
  }
}

}  // namespace vecino::encoder
