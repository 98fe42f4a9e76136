# Everything Vecino takes from Debian 12. deploy/install-deps lists the packages.

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(RocksDB CONFIG REQUIRED)
find_package(OpenMP REQUIRED)
find_package(BLAS REQUIRED)
find_package(LAPACK REQUIRED)
find_package(faiss CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)

# Debian's dnnl-config.cmake asks for OpenCL's headers, which only its GPU part needs.
find_path(VECINO_DNNL_INCLUDE oneapi/dnnl/dnnl.hpp REQUIRED)
find_library(VECINO_DNNL_LIB dnnl REQUIRED)
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${VECINO_DNNL_LIB}
                                            INTERFACE_INCLUDE_DIRECTORIES ${VECINO_DNNL_INCLUDE})

# Debian's TorchConfig.cmake asks for MKL-style variables and prints warnings; the library and its
# headers are all that is needed.
option(VECINO_CUDA "Link LibTorch's CUDA part, for --encoder-device cuda; needs VECINO_TORCH_ROOT" OFF)
set(VECINO_TORCH_ROOT "" CACHE PATH "An unpacked LibTorch to take in place of Debian's, which has no CUDA")
set(torch_hints HINTS ${VECINO_TORCH_ROOT})
find_path(VECINO_TORCH_INCLUDE torch/script.h ${torch_hints} PATH_SUFFIXES include REQUIRED)
find_library(VECINO_TORCH_LIB torch ${torch_hints} PATH_SUFFIXES lib REQUIRED)
find_library(VECINO_TORCH_CPU_LIB torch_cpu ${torch_hints} PATH_SUFFIXES lib REQUIRED)
find_library(VECINO_C10_LIB c10 ${torch_hints} PATH_SUFFIXES lib REQUIRED)
add_library(vecino_torch INTERFACE)
target_include_directories(vecino_torch SYSTEM INTERFACE ${VECINO_TORCH_INCLUDE}
                                                         ${VECINO_TORCH_INCLUDE}/torch/csrc/api/include)
if(VECINO_CUDA)
  find_library(VECINO_TORCH_CUDA_LIB torch_cuda ${torch_hints} PATH_SUFFIXES lib REQUIRED)
  find_library(VECINO_C10_CUDA_LIB c10_cuda ${torch_hints} PATH_SUFFIXES lib REQUIRED)
  # Nothing names a symbol of theirs: they register themselves when they are loaded.
  set(torch_cuda ${VECINO_TORCH_CUDA_LIB} ${VECINO_C10_CUDA_LIB})
endif()
# The standard library stands before it: PyPI's libtorch.so has parts of std::filesystem of its own, which crash when the
# program takes them for the standard library's. One pair of flags: CMake leaves a second one out.
target_link_libraries(vecino_torch INTERFACE -Wl,--no-as-needed stdc++ ${torch_cuda} -Wl,--as-needed ${VECINO_TORCH_LIB}
                                             ${VECINO_TORCH_CPU_LIB} ${VECINO_C10_LIB})

find_path(VECINO_STEMMER_INCLUDE libstemmer.h REQUIRED)
find_library(VECINO_STEMMER_LIB stemmer REQUIRED)
add_library(vecino_stemmer INTERFACE)
target_include_directories(vecino_stemmer SYSTEM INTERFACE ${VECINO_STEMMER_INCLUDE})
target_link_libraries(vecino_stemmer INTERFACE ${VECINO_STEMMER_LIB})
