# Every library is a Debian 12 package (scripts/setup.sh); nothing is fetched at configure time.
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(spdlog 1.10 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(yaml-cpp 0.7 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(HDF5 1.10 REQUIRED COMPONENTS C)
find_package(MPI COMPONENTS C)

# OpenBLAS must be the OpenMP build: the pthread build, Debian's default alternative, runs a second
# thread pool beside ours. Its own folder goes into the run path, whatever the alternative says.
find_library(SHOAL_OPENBLAS NAMES openblas
             PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp openblas-openmp
             NO_CMAKE_SYSTEM_PATH PATHS /usr/lib /usr/local/lib)
find_path(SHOAL_CBLAS_INCLUDE NAMES cblas.h
          PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp
                        ${CMAKE_LIBRARY_ARCHITECTURE} openblas)
if(NOT SHOAL_OPENBLAS OR NOT SHOAL_CBLAS_INCLUDE)
  message(FATAL_ERROR "The OpenMP build of OpenBLAS is missing: install libopenblas-openmp-dev")
endif()
get_filename_component(SHOAL_OPENBLAS_DIR ${SHOAL_OPENBLAS} DIRECTORY)

add_library(shoal_openblas INTERFACE)
target_include_directories(shoal_openblas SYSTEM INTERFACE $<BUILD_INTERFACE:${SHOAL_CBLAS_INCLUDE}>)
target_link_libraries(shoal_openblas INTERFACE ${SHOAL_OPENBLAS})
list(APPEND CMAKE_BUILD_RPATH ${SHOAL_OPENBLAS_DIR})
list(APPEND CMAKE_INSTALL_RPATH ${SHOAL_OPENBLAS_DIR})

add_library(shoal_hdf5 INTERFACE)
target_include_directories(shoal_hdf5 SYSTEM INTERFACE "$<BUILD_INTERFACE:${HDF5_C_INCLUDE_DIRS}>")
target_link_libraries(shoal_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

add_library(shoal_mpi INTERFACE)
if(MPI_C_FOUND)
  target_link_libraries(shoal_mpi INTERFACE $<BUILD_INTERFACE:MPI::MPI_C>)
  target_link_libraries(shoal_mpi INTERFACE $<INSTALL_INTERFACE:${MPI_C_LIBRARIES}>)
  target_compile_definitions(shoal_mpi INTERFACE SHOAL_HAVE_MPI=1)
endif()
