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
find_package(dnnl CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(GTest CONFIG REQUIRED)

# Debian's TorchConfig.cmake asks for MKL-style variables and prints warnings; the library and its
# headers are all that is needed.
find_path(VECINO_TORCH_INCLUDE torch/script.h REQUIRED)
find_library(VECINO_TORCH_LIB torch REQUIRED)
find_library(VECINO_TORCH_CPU_LIB torch_cpu REQUIRED)
find_library(VECINO_C10_LIB c10 REQUIRED)
add_library(vecino_torch INTERFACE)
target_include_directories(vecino_torch SYSTEM INTERFACE ${VECINO_TORCH_INCLUDE}
                                                         ${VECINO_TORCH_INCLUDE}/torch/csrc/api/include)
target_link_libraries(vecino_torch INTERFACE ${VECINO_TORCH_LIB} ${VECINO_TORCH_CPU_LIB} ${VECINO_C10_LIB})
