//! Data without a header: IDX, numpy archives, and the library's own arrays.

use super::*;
use ndarray::{Array2, arr1, arr2};
use proptest::prelude::*;
use std::io::Write;

/// An IDX file of unsigned bytes.
fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

/// A numpy archive of one array `x`, with this header.
fn npz(header: &str, data: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("x.npy", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
    archive.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    archive.write_all(header.as_bytes()).unwrap();
    archive.write_all(data).unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_folder_of_idx_files() {
    let folder = folder();
    let path = folder.path();
    write(path, "train-images-idx3-ubyte.gz", gzip(&idx(&[3, 2, 2], &[0, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])));
    write(path, "train-labels-idx1-ubyte", idx(&[3], &[9, 4, 9]));
    write(path, "t10k-images-idx3-ubyte", idx(&[1, 2, 2], &[1, 1, 1, 51]));
    write(path, "t10k-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[4])));
    let loaded = load(&DataSpec::new(path.to_str().unwrap())).unwrap();
    assert_eq!((loaded.source.rows(), loaded.source.columns()), (3, 4));
    assert_eq!(loaded.source.task(), &Task::Classification { classes: vec!["4".into(), "9".into()] });
    assert_eq!(loaded.source.target(), &TargetValues::Classes(vec![1, 0, 1]));
    let test = loaded.test.unwrap();
    assert_eq!(test.target(), &TargetValues::Classes(vec![0]));
    let (pipeline, _) = Pipeline::fit(&loaded.source, &[0, 1, 2], Preprocess::Standard).unwrap();
    let data = pipeline.transform(&loaded.source, &[2, 0]).unwrap();
    assert_eq!(data.features, Features::U8 { values: vec![7, 8, 9, 10, 0, 255, 1, 2], scale: 1.0 / 255.0 });
    assert_eq!(data.targets, Targets::Classes { labels: vec![1, 1], classes: 2 });
    // A model is evaluated on the test pair of the folder, or on a file of images.
    let (read, notes) = pipeline.read(path.to_str().unwrap(), None, ReadTargets::Yes).unwrap();
    assert_eq!((read.content(), notes.len()), (test.content(), 1));
    let images = path.join("train-images-idx3-ubyte.gz");
    let (read, _) = pipeline.read(images.to_str().unwrap(), None, ReadTargets::Yes).unwrap();
    assert_eq!(read.target(), loaded.source.target());
    assert!(message(pipeline.read("digits", None, ReadTargets::No)).contains("needs images of 4 bytes, found a table"));
}

#[test]
fn damaged_idx_files() {
    let folder = folder();
    let path = folder.path();
    let whole = idx(&[3, 2, 2], &[0; 12]);
    let said = |images: &[u8], labels: &[u8]| {
        write(path, "train-images-idx3-ubyte", images);
        write(path, "train-labels-idx1-ubyte", labels);
        message(load(&DataSpec::new(path.to_str().unwrap())))
    };
    let labels = idx(&[3], &[0, 1, 0]);
    assert!(said(&whole[..20], &labels).contains("an array of shape [3, 2, 2] is announced, 4 bytes follow"));
    assert!(said(&whole[..9], &labels).contains("the IDX header is cut off"));
    assert!(said(b"hello, world", &labels).contains("not an IDX file of unsigned bytes"));
    assert!(said(&whole, &idx(&[2], &[0, 1])).contains("3 labels are expected, found an array of shape [2]"));
    assert!(said(&idx(&[0, 2, 2], &[]), &idx(&[0], &[])).contains("images are expected"));
    assert!(said(&idx(&[u32::MAX; 4], &[]), &labels).contains("is announced, 0 bytes follow"));
    assert!(said(&whole, &idx(&[3], &[1, 1, 1])).contains("has one class only, `1`"));
    std::fs::remove_file(path.join("train-labels-idx1-ubyte")).unwrap();
    assert!(message(load(&DataSpec::new(path.to_str().unwrap()))).contains("there are no targets beside the inputs"));
}

/// Written by numpy 2.4:
/// `x = np.arange(12, dtype=np.float64).reshape(4, 3) / 8`;
/// `np.savez_compressed("numpy.npz", x=np.asfortranarray(x), y=np.array([3, -1, 3, 7]),`
/// `x_test=x[:2].astype(">f4"), y_test=np.array([7, 3], dtype=np.float32))`;
/// `np.savez("numpy-text.npz", x=(np.arange(12, dtype=np.uint8) * 20).reshape(3, 2, 2),`
/// `y=np.array(["ja", "nein", "ja"]), z=np.array([object()]))`.
const FLOATS: &[u8] = include_bytes!("numpy.npz");
const TEXTS: &[u8] = include_bytes!("numpy-text.npz");

#[test]
fn archives_that_numpy_wrote() {
    let folder = folder();
    let path = write(folder.path(), "a.npz", FLOATS);
    let loaded = load(&DataSpec::new(&path)).unwrap();
    let source = &loaded.source;
    assert_eq!((source.rows(), source.column_names(), loaded.name.as_str()), (4, vec!["x_0", "x_1", "x_2"], "a"));
    assert_eq!(source.task(), &Task::Classification { classes: vec!["-1".into(), "3".into(), "7".into()] });
    assert_eq!(source.target(), &TargetValues::Classes(vec![1, 0, 1, 2]));
    let (pipeline, _) = Pipeline::fit(source, &all(source), Preprocess::None).unwrap();
    let Features::F32(values) = pipeline.transform(source, &all(source)).unwrap().features else { panic!() };
    assert_eq!(values, (0..12u8).map(|i| f32::from(i) / 8.0).collect::<Vec<_>>());
    let test = loaded.test.unwrap();
    assert_eq!(test.target(), &TargetValues::Classes(vec![2, 1]));
    let Features::F32(values) = pipeline.transform(&test, &[0, 1]).unwrap().features else { panic!() };
    assert_eq!(values, (0..6u8).map(|i| f32::from(i) / 8.0).collect::<Vec<_>>());
    let path = write(folder.path(), "b.npz", TEXTS);
    let source = load(&DataSpec::new(&path)).unwrap().source;
    assert_eq!(source.task(), &Task::Classification { classes: vec!["ja".into(), "nein".into()] });
    assert!(matches!(source.content(), Content::Bytes { values, width: 4 } if values[11] == 220));
}

#[test]
fn damaged_archives() {
    let folder = folder();
    let said = |bytes: &[u8]| message(load(&DataSpec::new(write(folder.path(), "a.npz", bytes))));
    assert!(said(&FLOATS[..FLOATS.len() / 2]).contains("damaged npz file"));
    let header = |kind: &str, shape: &str| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    assert!(said(&npz(&header("<f4", "(2, 1)"), &[0; 8])).contains("no targets"));
    assert!(said(&npz(&header("<f4", "(2, 3)"), &[0; 8])).contains("array `x`: 24 bytes are announced, 8 follow"));
    assert!(said(&npz(&header("<f4", "(2, 99999999999999999999)"), &[])).contains("is no size"));
    assert!(said(&npz(&header("<f4", "(9999999999, 9999999999, 99)"), &[])).contains("the shape is too large"));
    assert!(said(&npz(&header("<f4", "(0, 3)"), &[])).contains("`x` is empty"));
    assert!(said(&npz(&header("<f4", "(2,)"), &[0; 8])).contains("rows × columns are expected, found shape [2]"));
    assert!(
        said(&npz(&header("<f4", "(1, 1)"), &f32::INFINITY.to_le_bytes()))
            .contains("x[0, 0]: a number within the range")
    );
    assert!(said(&npz(&header("|O", "(1, 1)"), &[0; 8])).contains("element type `|O` is not read"));
    assert!(said(&npz(&header("é4", "(1, 1)"), &[0; 8])).contains("element type"));
    assert!(said(&npz("{}", &[])).contains("no element type"));
    let empty = zip::ZipWriter::new(std::io::Cursor::new(Vec::new())).finish().unwrap().into_inner();
    assert!(said(&[b"PK\x03\x04", empty.as_slice()].concat()).contains("found no numpy array"));
}

#[test]
fn every_element_type() {
    use crate::data::npz::first_column;
    let cases: [(&str, Vec<u8>, f64); 12] = [
        ("|u1", vec![200], 200.0),
        ("|b1", vec![3], 1.0),
        ("|i1", vec![0xff], -1.0),
        ("<i2", (-300i16).to_le_bytes().to_vec(), -300.0),
        (">u2", 60000u16.to_be_bytes().to_vec(), 60000.0),
        ("<i4", (-70000i32).to_le_bytes().to_vec(), -70000.0),
        ("<u4", 4_000_000_000u32.to_le_bytes().to_vec(), 4e9),
        (">i8", (-5i64).to_be_bytes().to_vec(), -5.0),
        ("<u8", 7u64.to_le_bytes().to_vec(), 7.0),
        ("<f4", 0.5f32.to_le_bytes().to_vec(), 0.5),
        (">f8", 0.1f64.to_be_bytes().to_vec(), 0.1),
        ("<f2", vec![0x00, 0x3c], 1.0),
    ];
    for (kind, data, expected) in cases {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, 1), }}");
        assert_eq!(first_column(&npz(&header, &data)), Ok(vec![expected]), "{kind}");
    }
}

#[test]
fn datasets_from_arrays() {
    let x = arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let data = Dataset::from_classes(x.view(), arr1(&[0, 2, 1]).view(), 3).unwrap();
    assert_eq!((data.rows, data.inputs, data.targets.outputs()), (3, 2, 3));
    // A transposed view is read by its logical order.
    let turned = Dataset::from_array(x.t()).unwrap();
    assert_eq!(turned.features, Features::F32(vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    let real = Dataset::from_real(x.view(), arr2(&[[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]]).view()).unwrap();
    let Targets::Real { values, width, mean, deviation } = &real.targets else { panic!() };
    assert_eq!((*width, mean.as_slice(), deviation[1]), (2, [3.0, 7.0].as_slice(), 1.0));
    assert!((deviation[0] - (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!((values[2], values[3]), (0.0, 0.0));
    let like = Dataset::from_real_like(x.view(), arr2(&[[3.0, 8.0], [3.0, 8.0], [3.0, 8.0]]).view(), &real).unwrap();
    let Targets::Real { values, mean: same, .. } = &like.targets else { panic!() };
    assert_eq!((values[..2].to_vec(), same), (vec![0.0, 1.0], mean));
    let both = real.concat(&like).unwrap();
    assert_eq!((both.rows, both.targets.outputs()), (6, 2));
    assert!(message(real.concat(&data)).contains("differ in their targets"));
    let binary = Dataset::from_binary(x.view(), arr2(&[[1.0], [0.0], [1.0]]).view()).unwrap();
    assert_eq!(binary.targets, Targets::Binary { values: vec![1.0, 0.0, 1.0], width: 1 });
}

#[test]
fn arrays_that_are_refused() {
    let x = arr2(&[[1.0f32, 2.0], [3.0, 4.0]]);
    let bad = arr2(&[[1.0f32, 2.0], [f32::NAN, 4.0]]);
    let empty = Array2::<f32>::zeros((0, 2));
    assert_eq!(message(Dataset::from_array(bad.view())), "x[1, 0]: a finite number is expected, found NaN");
    assert!(message(Dataset::from_array(empty.view())).contains("found 0×2"));
    let of = |labels: &[u32], classes| message(Dataset::from_classes(x.view(), arr1(labels).view(), classes));
    assert_eq!(of(&[0], 2), "labels: 2 rows are expected as in x, found 1");
    assert_eq!(of(&[0, 2], 2), "labels[1]: a class below 2 is expected, found 2");
    assert_eq!(of(&[0, 0], 1), "classes: at least 2 are needed, found 1");
    assert_eq!(message(Dataset::from_real(x.view(), bad.view())), "y[1, 0]: a finite number is expected, found NaN");
    assert!(message(Dataset::from_real(x.view(), empty.view())).contains("2 rows are expected"));
    assert_eq!(message(Dataset::from_binary(x.view(), x.view())), "y[0, 1]: 0 or 1 is expected, found 2");
    assert!(Dataset::from_real(x.view(), Array2::zeros((2, 0)).view()).is_err());
}

proptest! {
    #[test]
    fn no_array_header_makes_the_reader_panic(
        kind in "[<>|=][a-zA-Z][0-9]{0,2}", order in "(True|False)", shape in "\\([0-9]{0,2}(, ?[0-9]{0,2}){0,3}\\)",
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let folder = folder();
        let header = format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}");
        let _ = load(&DataSpec::new(write(folder.path(), "a.npz", npz(&header, &data))));
    }

    #[test]
    fn no_image_file_makes_the_reader_panic(bytes in proptest::collection::vec(0u8..12, 0..40)) {
        let folder = folder();
        write(folder.path(), "train-images-idx3-ubyte", [&[0, 0, 8], bytes.as_slice()].concat());
        let _ = load(&DataSpec::new(folder.path().to_str().unwrap()));
    }
}
